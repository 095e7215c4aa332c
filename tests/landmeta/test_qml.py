from xml.etree import ElementTree

import pytest

from landmeta.legend import IGBP_SIMPLIFIED, LandClass, Legend
from landmeta.qml import paletted
from tests.rasters import THREE

# As QGIS 3.22 writes it for a raster of classes, less what does not concern the renderer.
BY_QGIS = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="AllStyleCategories">
  <pipe>
    <provider>
      <resampling enabled="false" maxOversampling="2" zoomedInResamplingMethod="nearestNeighbour"
        zoomedOutResamplingMethod="nearestNeighbour"/>
    </provider>
    <rasterrenderer alphaBand="-1" band="1" nodataColor="" opacity="1" type="paletted">
      <rasterTransparency/>
      <colorPalette>
        <paletteEntry alpha="255" color="#009900" label="Forest &amp; scrub" value="1"/>
        <paletteEntry alpha="255" color="#b6ff05" label="Grassland" value="4"/>
        <paletteEntry alpha="255" color="#1c0dff" label="Wasser &lt;ä&gt;" value="10"/>
      </colorPalette>
    </rasterrenderer>
  </pipe>
  <blendMode>0</blendMode>
</qgis>
"""


def plain(element):
    """An element without the order of attributes or white space."""
    text = (element.text or "").strip()
    return element.tag, sorted(element.items()), text, [plain(child) for child in element]


def test_it_is_what_qgis_writes():
    made, expected = (ElementTree.fromstring(t) for t in (paletted(THREE), BY_QGIS))
    assert plain(made)[3] == plain(expected)[3]
    assert made.get("version") == expected.get("version")
    assert paletted(THREE).startswith("<!DOCTYPE qgis")  # without it QGIS does not load the file


@pytest.mark.parametrize("legend", [THREE, IGBP_SIMPLIFIED])
def test_each_class_has_its_entry_by_value(legend):
    entries = list(ElementTree.fromstring(paletted(legend)).iter("paletteEntry"))
    found = [(int(e.get("value")), e.get("label"), e.get("color")) for e in entries]
    assert found == sorted((c.id, c.name, c.color) for c in legend.classes)


def test_names_that_xml_must_escape():
    name = "a \"quoted\" <name> & 'more' ÿ→"
    legend = Legend(classes=(LandClass(id=0, name=name, color="#FFffff"),))
    (entry,) = ElementTree.fromstring(paletted(legend)).iter("paletteEntry")
    assert entry.attrib == {"value": "0", "label": name, "color": "#ffffff", "alpha": "255"}
