"""A STAC catalogue with image and label assets, files or behind an API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import ValidationError

from data_prep.areas import Areas
from data_prep.images import image_of, stack_of
from data_prep.reading import Reading, least_labelled, legend_of_shapes
from data_prep.scenes import Scene
from data_prep.source import Source
from data_prep.stac_items import Found, Query, open_items, sort_items
from data_prep.tasks import Cutting, scenes_source
from landmeta.errors import ConfigError
from landmeta.legend import LandClass, Legend


@dataclass(frozen=True)
class _Item:
    """What is looked at: an item that has labels."""

    found: Found

    @property
    def region(self) -> str:
        return self.found.region


def stac(
    catalog: str,
    *,
    image_assets: Sequence[str],
    label_asset: str,
    tile: int,
    legend: Legend | None = None,
    region: str = "collection",
    query: Query | None = None,
    reading: Reading | None = None,
    scales: Mapping[str, float] | None = None,
    areas: Areas | None = None,
    blocks: int | None = None,
    min_labelled: float | None = None,
    val: Iterable[str] | float = 0.15,
    test: Iterable[str] | float = 0.2,
    seed: int = 0,
) -> Source:
    """Cut the items of a catalogue into tiles, one task a region.

    Args:
        catalog: file or address of a catalogue, collection, item or item collection, or of an API.
        image_assets: names of the assets of the image; of several, each file is a band.
        label_asset: name of the asset of the labels, of the same item or of one of the label
            extension that names it as its source.
        tile: side of a tile in pixels.
        legend: what the ids, colours or names of the labels mean; without it, what the
            classification extension says of rasters, or the names in vector files.
        region: `collection`, `grid` (an MGRS, WRS or other grid code), or a property's name.
        query: ask an API for these items.
        reading: how files are read; its bands choose among those of all assets.
        scales: this and the others as of `data_prep.rasters.rasters`.
        areas: by polygons.
        blocks: by a grid.
        min_labelled: of a tile.
        val: regions.
        test: regions.
        seed: of the draw.

    Raises:
        ConfigError: pystac is missing, an item says no region, or has several labels.
        SourceNotFound: no catalogue, no items, no items with image and labels.
        Further as `data_prep.rasters.rasters`.
    """
    reading = reading or Reading()
    items, folder = open_items(catalog, query)
    found, notes = sort_items(
        items,
        folder,
        images=image_assets,
        label=label_asset,
        region=region,
        needs_region=areas is None,
    )
    column = reading.class_column or next((f.column for f in found if f.column), None)
    reading = replace(reading, class_column=column)
    labels = [f.label for f in found if f.label is not None]
    if legend is None and found[0].classes:
        legend = legend_of_classes(found[0].classes)
    if legend is None:
        legend, made = legend_of_shapes(labels, reading)
        notes.append(made)
    if min_labelled is None:
        min_labelled = least_labelled(labels)

    return scenes_source(
        [_Item(f) for f in found],
        lambda item: _scene(item.found, reading),
        Cutting(
            source="stac",
            legend=legend,
            tile=tile,
            scales=scales or {},
            areas=areas,
            blocks=blocks,
            min_labelled=min_labelled,
            val=val,
            test=test,
            seed=seed,
            options={
                "catalog": catalog,
                "image_assets": list(image_assets),
                "label_asset": label_asset,
                "region": region,
                "query": None if query is None else asdict(query),
                **asdict(reading),
            },
        ),
        notes,
    )


def _scene(found: Found, reading: Reading) -> Scene:
    assert found.label is not None
    if len(found.assets) == 1:
        image = image_of(next(iter(found.assets.values())), reading.bands)
    else:
        bands = reading.bands
        if isinstance(bands, Mapping):
            raise ConfigError(
                "an image of several assets has bands with names, not places",
                remedy="name the assets that are wanted, without '='",
            )
        image = stack_of(found.name, found.assets, bands, reading.resampling)
    return Scene(found.name, image, reading.labels(found.label), found.region)


def legend_of_classes(classes: Sequence[Mapping[str, Any]]) -> Legend:
    """A legend of the classification extension's `classification:classes`.

    Raises:
        ConfigError: values that no label file can hold, or classes without name.
    """
    ignore = [str(c.get("value")) for c in classes if c.get("nodata")]
    try:
        return Legend(
            classes=tuple(
                LandClass(
                    id=c["value"],
                    name=str(c.get("title") or c.get("name") or c.get("description") or c["value"]),
                    color=f"#{c['color_hint']}" if c.get("color_hint") else _grey(place),
                )
                for place, c in enumerate(classes)
                if not c.get("nodata")
            ),
            ignore=tuple(ignore),
        )
    except (ValidationError, KeyError) as error:
        raise ConfigError(
            f"the catalogue's classes make no legend: {error}",
            remedy="give a legend with --legend",
        ) from error


def _grey(place: int) -> str:
    """For a class without colour; far from its neighbours in the list."""
    return "#" + f"{(place * 97 + 40) % 256:02x}" * 3
