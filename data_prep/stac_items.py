"""Items of a STAC catalogue: from files through pystac, from an API through pystac-client.

https://stacspec.org; which labels belong to which image says the label extension,
https://github.com/stac-extensions/label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landmeta.errors import ConfigError, SourceNotFound, UnreadableFile
from landmeta.location import Location, is_virtual, located

if TYPE_CHECKING:
    from pystac import Item

GRIDS = ("grid:code", "s2:mgrs_tile", "mgrs:utm_zone", "landsat:wrs_path")
"""Properties that say where in a grid of the Earth an item lies; some need a second one."""
_SECOND = {"mgrs:utm_zone": ("mgrs:latitude_band", "mgrs:grid_square"),
           "landsat:wrs_path": ("landsat:wrs_row",)}  # fmt: skip


@dataclass(frozen=True)
class Query:
    """What to ask an API for; see pystac-client's `Client.search`.

    Attributes:
        collections: names of collections.
        bbox: west, south, east, north in degrees.
        datetime: a date, or two with a slash between.
    """

    collections: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    datetime: str | None = None


@dataclass(frozen=True)
class Found:
    """An item with what is needed of it.

    Attributes:
        name: the item's id, `region`: its own.
        assets: where the image's assets are, by name.
        label: where its labels are; None if nobody says.
        column: of the class, if the label extension says it.
        classes: of the label asset, by the classification extension.
    """

    name: str
    region: str
    assets: dict[str, Location]
    label: Location | None = None
    column: str | None = None
    classes: tuple[dict[str, Any], ...] = field(default=())


def open_items(catalog: str, query: Query | None = None) -> tuple[list[Item], Path]:
    """All items of a catalogue, and the folder that relative addresses in it start from.

    Args:
        catalog: file or address of a catalogue, collection, item or item collection; with `query`
            the address of an API.
        query: what to ask an API for.

    Raises:
        ConfigError: pystac is not installed.
        SourceNotFound: the catalogue, or a file it leads to, is not there; or it has no items.
        UnreadableFile: it is no STAC.
    """
    try:
        import pystac
    except ImportError as error:
        raise ConfigError(
            "STAC catalogues are read by pystac, which is not installed",
            remedy="pip install 'landmeta[stac]'",
        ) from error
    folder = Path() if is_virtual(catalog) else Path(catalog).parent
    try:
        items = _search(catalog, query) if query else _walk(pystac, catalog)
    except (OSError, pystac.STACError, ValueError, KeyError, TypeError) as error:
        absent = isinstance(error, OSError)
        raise (SourceNotFound if absent else UnreadableFile)(
            f"cannot be read as a STAC catalogue: {type(error).__name__}: {error}",
            remedy="check the address and that all files it links to are there",
            path=catalog,
        ) from error
    except Exception as error:
        if type(error).__module__.startswith(("pystac", "requests")):  # of the API
            raise SourceNotFound(
                f"does not answer as a STAC API: {error}",
                remedy="check the address and the network",
                path=catalog,
            ) from error
        raise
    if not items:
        raise SourceNotFound("has no items", remedy="check what was asked for", path=catalog)
    return sorted(items, key=lambda item: (item.collection_id or "", item.id)), folder


def _walk(pystac: Any, catalog: str) -> list[Item]:  # noqa: ANN401 - the module
    text = pystac.StacIO.default().read_text(catalog)
    kind = json.loads(text).get("type")
    if kind == "FeatureCollection":
        return list(pystac.ItemCollection.from_file(catalog))
    thing = pystac.read_file(catalog)
    return [thing] if kind == "Feature" else list(thing.get_items(recursive=True))


def _search(address: str, query: Query) -> list[Item]:
    try:
        from pystac_client import Client
    except ImportError as error:
        raise ConfigError(
            "STAC APIs are asked by pystac-client, which is not installed",
            remedy="pip install 'landmeta[stac]'",
        ) from error
    asked = Client.open(address).search(
        collections=list(query.collections) or None, bbox=query.bbox, datetime=query.datetime
    )
    return list(asked.items())


def region_of(item: Item, by: str) -> str:
    """The region of an item: by `collection`, by `grid`, or by a property of that name.

    Raises:
        ConfigError: the item does not say.
    """
    if by == "collection":
        parent = item.get_parent() if item.collection_id is None else None
        value = item.collection_id or (parent.id if parent else None)
    elif by == "grid":
        key = next((g for g in GRIDS if g in item.properties), None)
        parts = [key, *_SECOND.get(key, ())] if key else []
        value = "-".join(str(item.properties.get(part, "")) for part in parts) or None
    else:
        value = item.properties.get(by)
    if value in (None, ""):
        known = ", ".join(sorted(item.properties))
        raise ConfigError(
            f"the item {item.id!r} has no {by}; its properties are {known}",
            remedy="choose --region collection, grid, or one of these properties",
        )
    return str(value).replace("/", "-")


def sort_items(
    items: Iterable[Item],
    folder: Path,
    *,
    images: Sequence[str],
    label: str,
    region: str,
    needs_region: bool = True,
) -> tuple[list[Found], list[str]]:
    """Bring images and their labels together.

    The labels of an image are an asset of the same item, or of an item of the label extension that
    names the image's as its source.

    Args:
        items: of the catalogue.
        folder: where relative addresses start that no link explains.
        images: names of the image's assets.
        label: name of the label asset.
        region: see `region_of`.
        needs_region: whether items must say it.

    Returns:
        The images with labels, and notes on what was left out.

    Raises:
        ConfigError: an image has several labels, or an item no region.
        SourceNotFound: no item has both image and labels.
    """
    items = list(items)
    by_image = _label_items(items, label)
    found: list[Found] = []
    bare = partial = 0
    for item in items:
        if not any(name in item.assets for name in images):
            continue
        if missing := [name for name in images if name not in item.assets]:
            partial += 1
            last = f"{item.id} has no asset {', '.join(missing)}"
            continue
        owners = ([item] if label in item.assets else []) + by_image.get(_key(item), [])
        if len(owners) > 1:
            raise ConfigError(
                f"the item {item.id!r} has several labels: {', '.join(o.id for o in owners)}",
                remedy="an image has one label file: take the others out of the catalogue, or "
                "choose another --label-asset",
            )
        if not owners:
            bare += 1
            continue
        found.append(_found(item, owners[0], folder, images, label, region if needs_region else ""))
    notes = []
    if bare:
        notes.append(f"{bare} items have no labels and were left out")
    if partial:
        notes.append(f"{partial} items lack an asset of the image and were left out: {last} …")
    if not found:
        names = sorted({name for item in items for name in item.assets})
        raise SourceNotFound(
            f"none of {len(items)} items has the image assets {', '.join(images)} and labels "
            f"{label!r}; the assets are called {', '.join(names[:30])}",
            remedy="choose among these with --image-assets and --label-asset",
        )
    return found, notes


def _key(item: Item) -> str:
    return item.get_self_href() or item.id


def _label_items(items: Sequence[Item], label: str) -> dict[str, list[Item]]:
    """Items of the label extension, by what they name as their source."""
    ids = {item.id: _key(item) for item in items}
    by_image: dict[str, list[Item]] = {}
    for item in items:
        if label not in item.assets:
            continue
        for link in item.get_links("source"):
            href = link.get_absolute_href() or ""
            name = link.target.id if hasattr(link.target, "id") else Path(href).stem
            by_image.setdefault(ids.get(name, href), []).append(item)
    return by_image


def _found(
    item: Item, owner: Item, folder: Path, images: Sequence[str], label: str, region: str
) -> Found:
    asset = owner.assets[label]
    columns: list[str] = owner.properties.get("label:properties") or []
    bands = asset.extra_fields.get("raster:bands") or asset.extra_fields.get("bands") or [{}]
    classes = asset.extra_fields.get("classification:classes") or bands[0].get(
        "classification:classes", ()
    )
    return Found(
        name=item.id,
        region=region_of(item, region) if region else "",
        assets={name: _where(item.assets[name], folder) for name in images},
        label=_where(asset, folder),
        column=columns[0] if len(columns) == 1 else None,
        classes=tuple(classes),
    )


def _where(asset: Any, folder: Path) -> Location:  # noqa: ANN401 - pystac's Asset
    href = (asset.get_absolute_href() or asset.href).removeprefix("file://")
    return located(href, folder)
