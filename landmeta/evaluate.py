"""Scoring a network on labelled tiles, with or without adaptation."""

from __future__ import annotations

import torch

from landmeta.episodes import Episode
from landmeta.losses import predict_classes, to_batch
from landmeta.methods.base import Method
from landmeta.model import Params
from landmeta.scores import Confusion, confusion_matrix
from landmeta.taskset import TaskSet, Tiles


def confusion_on(
    method: Method, phi: Params, tiles: Tiles, classes: int, device: torch.device
) -> Confusion:
    """Confusion matrix of an adapted method's predictions, shape (truth, predicted)."""
    predicted = predict_classes(method.logits, phi, to_batch(tiles, device).image)
    return confusion_matrix(tiles.label, predicted.cpu().numpy(), classes)


def read_episode(taskset: TaskSet, episode: Episode) -> tuple[Tiles, Tiles]:
    """Support and query tiles."""
    return taskset.read(episode.support), taskset.read(episode.query)
