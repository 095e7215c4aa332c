"""A checkpoint as something that turns images into class probabilities, for `landmeta.predict`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from landmeta.checkpoint import load_checkpoint
from landmeta.device import DeviceName, choose_device
from landmeta.errors import CheckpointMismatch
from landmeta.legend import Legend
from landmeta.taskset import Band


class NetworkClassifier:
    """The network of a checkpoint on a device.

    Args:
        path: a region model, or a checkpoint used without adaptation (zero shots).
        device: where to compute.

    Raises:
        UnsafeFile, UnreadableFile, CheckpointMismatch: as `load_checkpoint`; the last also of a
            checkpoint with an open legend that is not adapted.
    """

    def __init__(self, path: Path, device: DeviceName = "auto") -> None:
        self.path = path
        self.device = choose_device(device)
        self.checkpoint = load_checkpoint(path).to(self.device)
        if self.checkpoint.meta.open_legend and self.checkpoint.meta.kind == "meta":
            raise CheckpointMismatch(
                "has an open legend: which classes to map, only labels of the region can say",
                remedy="adapt it by 'landmeta adapt' and map with the region model",
                path=path,
            )
        self._phi = self.checkpoint.phi()
        meta = self.checkpoint.meta
        self.band_specs: tuple[Band, ...] = meta.bands
        self.bands: tuple[str, ...] = tuple(b.name for b in meta.bands)
        self.legend: Legend = meta.legend
        self.tile_size: int = meta.tile_size

    def provenance(self) -> dict[str, str]:
        """What a map should remember of its model."""
        meta = self.checkpoint.meta
        return {
            "landmeta_model": self.path.name,
            "landmeta_model_sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(),
            "landmeta_method": meta.settings.method,
            "landmeta_provenance": json.dumps(_without_config(meta.provenance)),
        }

    @torch.inference_mode()
    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class probabilities.

        Args:
            image: physical values, shape (tile, band, row, col), NaN where not valid.

        Returns:
            Shape (tile, class, row, col); sums to 1 over classes.
        """
        batch = torch.from_numpy(image).to(self.device, memory_format=torch.channels_last)
        logits = self.checkpoint.method.logits(self._phi, batch)
        probabilities: NDArray[np.float32] = logits.softmax(1).cpu().numpy()
        return probabilities


def _without_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record less the settings of the training run, which the model's own file keeps."""
    return {
        name: _without_config(value) if isinstance(value, dict) else value
        for name, value in record.items()
        if name != "config"
    }
