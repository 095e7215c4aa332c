"""A style for QGIS, which takes `map.qml` beside `map.tif` when it opens the map."""

from __future__ import annotations

from xml.etree import ElementTree

from landmeta.legend import Legend

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
WRITTEN_FOR = "3.22.0"
"""The version of QGIS whose documents these are; later ones read them too."""


def paletted(legend: Legend) -> str:
    """The style of a map of classes: a colour and a name for each value.

    The elements are those that QGIS's QgsPalettedRasterRenderer::writeXml writes; everything left
    out stays at QGIS's default. Zoomed out, QGIS takes the nearest pixel: classes have no mean.
    """
    root = ElementTree.Element("qgis", version=WRITTEN_FOR, styleCategories="Symbology")
    pipe = ElementTree.SubElement(root, "pipe")
    provider = ElementTree.SubElement(pipe, "provider")
    ElementTree.SubElement(
        provider,
        "resampling",
        enabled="false",
        zoomedInResamplingMethod="nearestNeighbour",
        zoomedOutResamplingMethod="nearestNeighbour",
        maxOversampling="2",
    )
    renderer = ElementTree.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1",
        nodataColor="",
    )  # fmt: skip
    ElementTree.SubElement(renderer, "rasterTransparency")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for land in sorted(legend.classes, key=lambda land: land.id):
        ElementTree.SubElement(
            palette,
            "paletteEntry",
            value=str(land.id),
            color=land.color,
            label=land.name,
            alpha="255",
        )
    ElementTree.SubElement(root, "blendMode").text = "0"
    ElementTree.indent(root)
    return DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n"
