"""Files beside a map that other programs read: a style for QGIS, a STAC item, polygons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from landmeta.errors import ConfigError, MissingCRS
from landmeta.mosaic import Source
from landmeta.polygons import write_polygons
from landmeta.qml import paletted
from landmeta.raster import Layer, Maker
from landmeta.stac_item import item


@dataclass(frozen=True)
class Companions:
    """Which files go with a map.

    Attributes:
        style: `map.qml`, by which QGIS shows it with names and colours.
        stac: `map.stac.json`, a STAC item that describes the map and its layers.
        date: of the image, in ISO 8601, for the STAC item, if the image does not say so itself.
        polygons: `map.gpkg`, the map as polygons.
        mmu: minimum mapping unit of the polygons in hectares: what is smaller goes to its largest
            neighbour. 0 for none.
    """

    style: bool = True
    stac: bool = False
    date: str | None = None
    polygons: bool = False
    mmu: float = 0

    def paths(self, out: Path) -> list[Path]:
        """The files that go with the map `out`."""
        ends = {"qml": self.style, "stac.json": self.stac, "gpkg": self.polygons}
        return [out.with_name(f"{out.stem}.{end}") for end, wanted in ends.items() if wanted]

    def check(self, image: Source) -> None:
        """Refuse what cannot be made.

        Raises:
            ConfigError: the minimum mapping unit makes no sense, or the date is missing or none.
            MissingCRS: something needs a place on Earth, and the raster has none.
        """
        if self.mmu < 0 or (self.mmu and not self.polygons):
            raise ConfigError(
                f"a minimum mapping unit of {self.mmu:g} ha"
                + ("" if self.mmu < 0 else ", but no polygons"),
                remedy="give 0 or more hectares, together with --polygons",
            )
        if self.date is not None and not self.stac:
            raise ConfigError(
                f"a date ({self.date}) without a STAC item to put it in", remedy="add --stac"
            )
        if (self.stac or self.polygons) and (image.grid.crs is None or image.grid.gcps):
            raise MissingCRS(
                "has no grid in a coordinate reference system, which a STAC item and polygons need",
                remedy="georeference it, for instance with gdalwarp, or leave out --stac and "
                "--polygons",
                path=image.path,
            )
        if self.stac and not (self.date or image.date):
            raise ConfigError(
                "does not say when it was taken, which a STAC item has to",
                remedy="give the date: --date 2024-06-30, or --date 2024-06-01/2024-08-31",
                path=image.path,
            )

    def makers(
        self, layers: Sequence[Layer], image: Source, tags: Mapping[str, str]
    ) -> dict[Path, Maker]:
        """How the files are made once the layers are there, by path.

        Args:
            layers: of the map, itself first.
            image: what is mapped.
            tags: provenance.

        Raises:
            ConfigError: the date is none.
        """
        out, legend = layers[0].path, layers[0].legend
        if legend is None:
            raise ValueError(f"{out} is no map of classes")
        made: dict[Path, Maker] = {}
        for path in self.paths(out):
            if path.suffix == ".qml":
                made[path] = _text(paletted(legend))
            elif path.suffix == ".json":
                found = item(layers, image.grid, self.date or image.date or "", tags)
                made[path] = _text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
            else:
                made[path] = lambda folder, target: write_polygons(
                    folder / out.name, target, legend, self.mmu
                )
        return made


def _text(content: str) -> Maker:
    def make(folder: Path, target: Path) -> None:
        target.write_text(content, encoding="utf-8")

    return make
