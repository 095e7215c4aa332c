"""Several processes that train together, as `torchrun` starts them. Alone, nothing here does much.

Every process computes its share of each step; sums and means over all of them are the same in
all, so their parameters stay the same. The first process alone writes files and talks.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from landmeta.errors import ConfigError, ProcessLost
from landmeta.model import Params

Item = TypeVar("Item")

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that is busy. One that has died is noticed at once."""


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Join the other processes that `torchrun` started, each on its own GPU where there are some.

    Inside another such block, or without `torchrun`, nothing happens.

    Raises:
        ConfigError: more processes on this machine than GPUs.
    """
    if "RANK" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    # Its functions take the process group of the moment they are imported as a default, and torch's
    # optimisers import them: later, they would keep gloo's threads alive until the interpreter
    # ends, where one that still frees a tensor aborts the process (pytorch pull request 179291).
    import torch.distributed.nn  # noqa: F401

    # What lies on the CPU (scores) goes by gloo in any case.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        # torchrun keeps its store over a restart: the dead processes' addresses are still in it.
        # On several hosts, whose counts may differ, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 helps.
        store = PrefixStore(f"start {_restarts()}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _take_gpu(number: int) -> None:
    found = torch.cuda.device_count()
    if number >= found:
        raise ConfigError(
            f"process {number + 1} on this machine finds only {found} GPUs",
            remedy=f"start torchrun with --nproc-per-node {found}, or give --device cpu",
        )
    torch.cuda.set_device(number)


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes files and talks."""
    return rank() == 0


def neighbours() -> int:
    """Processes of this run on this machine, which share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if dist.is_initialized() else 1


def own(items: Sequence[Item]) -> Sequence[Item]:
    """This process's share of the work: every `size()`-th item."""
    return items[rank() :: size()]


def mean(loss: Tensor, grads: Params, weight: float) -> tuple[Tensor, Params]:
    """Weighted mean of loss and gradient over the processes.

    Args:
        loss: scalar, a mean over this process's share.
        grads: by name, of the same mean; all of one dtype.
        weight: how much that share counts (tasks, labelled pixels).

    Raises:
        ProcessLost: another process has died.
    """
    if size() == 1:
        return loss, grads
    sizes = [1, *(g.numel() for g in grads.values()), 1]
    some = next(iter(grads.values()))
    share = torch.cat([loss.to(some).reshape(1), *(g.reshape(-1) for g in grads.values())])
    # One message: the weighted values, and their weight at the end.
    message = torch.cat([share * weight, share.new_tensor([weight])])
    add([message])
    total, *means, _ = torch.split(message / message[-1].clamp(min=1), sizes)
    shaped = {
        name: value.view(g.shape) for (name, g), value in zip(grads.items(), means, strict=True)
    }
    return total.reshape(()).to(loss.dtype), shaped


def add(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over the processes, in place."""
    if size() > 1:
        with _others_alive():
            for tensor in tensors:
                dist.all_reduce(tensor)


def follow_first(tensors: Sequence[Tensor]) -> None:
    """Overwrite each tensor by the first process's, in place."""
    if size() > 1:
        with _others_alive(), torch.no_grad():
            for tensor in tensors:
                same = tensor.detach().contiguous()
                dist.broadcast(same, src=0)
                tensor.copy_(same)


def wait_for_all() -> None:
    """Return when every process has come here."""
    add([torch.zeros(1)])


@contextmanager
def _others_alive() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and nccl raise
        raise ProcessLost(
            f"process {rank()} of {size()} lost the others: {str(error).splitlines()[0]}",
            remedy="see what the process that failed first has said; then run the same command "
            "with --resume, or torchrun with --max-restarts to have that done",
        ) from error


def launch() -> str:
    """What tells one start of `torchrun` from another, its restarts included; "" without it."""
    run = os.environ.get("TORCHELASTIC_RUN_ID", "")
    # A run without a name of its own is known by the torchrun process that started us.
    return f"{socket.gethostname()} {os.getppid()}" if run == "none" else run


def restarted() -> bool:
    """Whether `torchrun --max-restarts` started this process after another had failed."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
