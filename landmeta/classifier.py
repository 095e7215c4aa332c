"""A checkpoint as something that turns images into class probabilities, for `landmeta.predict`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from landmeta.checkpoint import load_checkpoint
from landmeta.device import DeviceName, choose_device, describe
from landmeta.errors import CheckpointMismatch
from landmeta.forest import PixelForest, over_tiles
from landmeta.legend import Legend
from landmeta.novelty import Novelty
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
        self._device_name = device
        self.checkpoint = load_checkpoint(path).to(self.device)
        if self.checkpoint.meta.open_legend and self.checkpoint.meta.kind == "meta":
            raise CheckpointMismatch(
                "has an open legend: which classes to map, only labels of the region can say",
                remedy="adapt it by 'landmeta adapt' and map with the region model",
                path=path,
            )
        self._members = (self.checkpoint.phi(), *self.checkpoint.members)
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.novelty = Novelty.of(self.checkpoint.beside)
        self._forest = self._read_forest()
        meta = self.checkpoint.meta
        self.temperature: float | None = meta.temperature
        self.band_specs: tuple[Band, ...] = meta.bands
        self.bands: tuple[str, ...] = tuple(b.name for b in meta.bands)
        self.legend: Legend = meta.legend
        self.tile_size: int = meta.tile_size

    def _read_forest(self) -> PixelForest | None:
        meta = self.checkpoint.meta
        try:
            forest = PixelForest.of(self.checkpoint.beside)
            if (forest is None) != (meta.forest == 0):
                raise ValueError(f"its share in the votes is {meta.forest:g}")
            if forest is not None and forest.values.shape[1:] != (len(meta.legend),):
                raise ValueError("its classes are not those of the legend")
            if forest is not None and forest.features != 3 * len(meta.bands):
                raise ValueError("it is of other bands")
        except ValueError as error:
            raise CheckpointMismatch(
                f"holds a random forest that is damaged: {error}",
                remedy="adapt it again",
                path=self.path,
            ) from error
        return forest

    def provenance(self) -> dict[str, str]:
        """What a map should remember of its model."""
        meta = self.checkpoint.meta
        return {
            "landmeta_model": self.path.name,
            "landmeta_model_sha256": self.sha256,
            "landmeta_method": meta.settings.method,
            "landmeta_forest_share": f"{meta.forest:g}",
            "landmeta_provenance": json.dumps(_without_config(meta.provenance)),
        }

    @property
    def fingerprint(self) -> str:
        """What the same images need to get the same probabilities again, bit for bit."""
        return f"{self.sha256} {describe(self.device)} torch {torch.__version__}"

    def __reduce__(self) -> tuple[Any, ...]:
        """How it travels to another process: by its file, which has to be the same there."""
        return _load_same, (self.path.resolve(), self._device_name, self.sha256)

    @torch.inference_mode()
    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class probabilities: the mean over the members of an ensemble, mixed with a forest's.

        Args:
            image: physical values, shape (tile, band, row, col), NaN where not valid.

        Returns:
            Shape (tile, class, row, col); sums to 1 over classes.
        """
        each = [self._heated(pool) for pool in self._pools(image)]
        probabilities: NDArray[np.float32] = torch.stack(each).mean(0).cpu().numpy()
        return probabilities

    def _pools(self, image: NDArray[np.float32]) -> Iterator[torch.Tensor]:
        """What each member says together with the forest."""
        share, trees = self.checkpoint.meta.forest, None
        if self._forest is not None:
            trees = torch.from_numpy(over_tiles(self._forest, image)).to(self.device)
            if share == 1:
                yield trees
                return
        batch = self._batch(image)
        for phi in self._members:
            own = self.checkpoint.method.logits(phi, batch).softmax(1)
            yield own if trees is None else own.lerp(trees, share)

    def _heated(self, probabilities: torch.Tensor) -> torch.Tensor:
        if self.temperature is None:
            return probabilities
        return (probabilities.clamp_min(1e-12).log() / self.temperature).softmax(1)

    @torch.inference_mode()
    def features(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the head sees of images, (tile, feature, row, col). Arguments as above."""
        found = self.checkpoint.method.features(self._members[0], self._batch(image))
        features: NDArray[np.float32] = found.cpu().numpy()
        return features

    def unlikeness(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """How unlike anything labelled each pixel is, (tile, row, col); above 1, it is.

        That is the distance of `landmeta.novelty` in parts of its threshold. Arguments as above.

        Raises:
            CheckpointMismatch: the model is not adapted to a region.
        """
        if self.novelty is None:
            raise CheckpointMismatch(
                "knows no labelled places that pixels could be unlike: it is not adapted",
                remedy="adapt it by 'landmeta adapt' and use the region model",
                path=self.path,
            )
        novelty = self.novelty
        features = self.features(image)
        return np.stack([novelty.distance(f) / np.float32(novelty.threshold) for f in features])

    def _batch(self, image: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(image).to(self.device, memory_format=torch.channels_last)


def _load_same(path: Path, device: DeviceName, sha256: str) -> NetworkClassifier:
    classifier = NetworkClassifier(path, device)
    if classifier.sha256 != sha256:
        raise CheckpointMismatch(
            "is another model on this machine than on the one that asked for it",
            remedy="copy the same file to all machines, or keep it in a folder that all of them "
            "share",
            path=path,
        )
    return classifier


def _without_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record less the settings of the training run, which the model's own file keeps."""
    return {
        name: _without_config(value) if isinstance(value, dict) else value
        for name, value in record.items()
        if name != "config"
    }
