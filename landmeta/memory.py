"""Whether a step of training fits into the memory that is free, found out before the first one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from landmeta import distributed
from landmeta.config import TrainConfig
from landmeta.errors import TooLittleMemory
from landmeta.legend import IGNORE
from landmeta.meta.hessian import DIFFERENCES, leaves
from landmeta.meta.inner import Batch, Loss, gradient
from landmeta.methods import EpisodicMethod, Method
from landmeta.model import Params


@dataclass(frozen=True)
class StepSize:
    """What a step of training holds in memory at a time.

    Attributes:
        inner_tile: bytes that one inner step keeps of one tile until it is differentiated.
        plain_tile: bytes that a plain gradient keeps of one tile.
        parameters: bytes of all trainable parameters.
    """

    inner_tile: int
    plain_tile: int
    parameters: int

    def bytes(self, *, shots: int, tiles: int, steps: int) -> int:
        """The least that a step needs beside the network and its optimiser.

        What autograd keeps of one inner step or of one plain gradient, whichever is more, and a
        gradient of each inner step and of the query. Buffers that live within a layer are left
        out: what does fit is not refused.

        Args:
            shots: support tiles of an inner step; 0 without inner loop.
            tiles: most tiles of one plain gradient.
            steps: inner steps whose gradients are kept.
        """
        kept = max(shots * self.inner_tile, tiles * self.plain_tile)
        return kept + (steps + 1) * self.parameters


def measure(
    loss: Loss, params: Params, bands: int, tile_size: int, factor: int, *, second_order: bool
) -> StepSize:
    """Measure on small made-up tiles what autograd keeps of them.

    Args:
        loss: of a network whose layers keep as much per pixel whatever the size of the tile.
        params: its parameters.
        bands: of its images.
        tile_size: rows and columns of a real tile.
        factor: what rows and columns must be divisible by.
        second_order: whether inner steps are differentiated twice.
    """
    side = min(tile_size, 2 * factor)
    device = next(iter(params.values())).device

    def per_tile(second_order: bool) -> int:
        # What two tiles keep more than one: without what is kept once, such as weights.
        one, two = (
            _kept(loss, params, _blank(n, bands, side, device), second_order) for n in (1, 2)
        )
        return (two - one) * tile_size**2 // side**2

    plain = per_tile(False)
    parameters = sum(p.numel() * p.element_size() for p in params.values())
    return StepSize(per_tile(True) if second_order else plain, plain, parameters)


def _blank(tiles: int, bands: int, side: int, device: torch.device) -> Batch:
    image = torch.zeros(tiles, bands, side, side, device=device)
    label = torch.full((tiles, side, side), IGNORE, dtype=torch.int64, device=device)
    return Batch(image.to(memory_format=torch.channels_last), label)


def _kept(loss: Loss, params: Params, batch: Batch, second_order: bool) -> int:
    """Bytes that autograd keeps of the loss, or of loss and gradient, for the way back."""
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        value = loss(params, batch)
        if second_order:
            gradient(value, params, create_graph=True)
    return sum(storage.nbytes() for storage in kept.values())


def free_bytes(device: torch.device) -> int | None:
    """Memory that this process may still take, or None where that cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = [b for b in (_available(), _left_in_cgroup()) if b is not None]
    return min(known) // distributed.neighbours() if known else None


def _available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Free memory and swap of a Linux machine."""
    if not meminfo.is_file():
        return None
    rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return sum(int(rows[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))


def _left_in_cgroup(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the container's limit leaves (cgroup v2), counting cached files as free."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        stat = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return None if limit == "max" else int(limit) - used + int(stat["inactive_file"])


def room_for_tiles(step: int, device: torch.device) -> int:
    """Bytes of main memory that tiles may be kept in: a quarter of what a step on it leaves."""
    free = free_bytes(torch.device("cpu")) or 0
    return max(0, free - (step if device.type == "cpu" else 0)) // 4


def refuse_what_will_not_fit(
    config: TrainConfig, method: Method, params: Params, bands: int, tile_size: int
) -> int:
    """Estimate a step of the run, its validation and tuning, and compare with what is free.

    Returns:
        The estimate in bytes; 0 where what is free cannot be told.

    Raises:
        TooLittleMemory: it cannot fit.
    """
    device = next(iter(params.values())).device
    free = free_bytes(device)
    if free is None:
        return 0
    sizes = config.episodes
    second_order, steps = False, 0
    tiles = {"tune.shots": max(config.tune.shots)}
    if isinstance(method, EpisodicMethod):
        second_order = method.second_order and config.inner.hvp not in DIFFERENCES
        steps = method.kept_gradients
        tiles |= {"episodes.queries": sizes.queries, "validation.shots": config.validation.shots}
        tiles |= {"episodes.shots": sizes.shots}
        if method.at_once:
            tiles |= {"episodes.shots and episodes.queries": sizes.shots + sizes.queries}
    elif config.method == "pretrain":
        tiles |= {"batch": -(-config.batch // distributed.size())}
    shots = sizes.shots if second_order else 0
    bound = config.relabel.max_ways if config.relabel else None
    classes = min(method.classes, bound or method.classes)
    phi = leaves(method.start(params, None, classes))
    step = measure(
        method.loss, phi, bands, tile_size, 2**config.model.depth, second_order=second_order
    )
    most = max(tiles, key=lambda name: tiles[name])
    need = step.bytes(shots=shots, tiles=tiles[most], steps=steps)
    if need <= free:
        return need
    lower = [f"lower {most} ({tiles[most]})"]
    if shots * step.inner_tile > tiles[most] * step.plain_tile:
        lower = [f"lower episodes.shots ({shots})", "set inner.hvp to central or forward"]
    if steps * step.parameters > need / 2:
        lower = [f"lower inner.steps ({steps})", "use method fomaml"]
    raise TooLittleMemory(
        f"{config.method} on tiles of {tile_size} px needs at least {_gb(need)} of memory, "
        f"but {_gb(free)} are free on {device.type}",
        remedy=f"{', '.join(lower)}, take a smaller network or prepare smaller tiles",
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
