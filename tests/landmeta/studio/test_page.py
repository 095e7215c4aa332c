"""A person in a browser, from the first polygon to the map that is taken away."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio
import uvicorn

from landmeta.studio import view
from landmeta.studio.server import Studio, listen
from landmeta.studio.workshop import Workshop
from tests.browser import open_page
from tests.tiny import LEGEND

pytestmark = pytest.mark.slow


@contextmanager
def served(workshop):
    studio = Studio(workshop, "token")
    server = uvicorn.Server(uvicorn.Config(studio.app(), log_level="warning"))
    with listen(0) as socket:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}/token/"
        finally:
            server.should_exit = True
            thread.join()


class Person:
    """What somebody does with the page."""

    def __init__(self, page):
        self.page = page
        page.wait_for_selector("body[data-ready]")
        box = page.locator("#map").bounding_box()
        self.left, self.top = box["x"], box["y"]

    def place(self, col, row):
        """Where a pixel of the image is on the screen."""
        x, y = self.page.evaluate(
            "([col, row]) => { const p = studioMap.latLngToContainerPoint([-row, col]);"
            " return [p.x, p.y]; }",
            [col, row],
        )
        return self.left + x, self.top + y

    def choose(self, name):
        self.page.click(f"#classes button[data-name='{name}']")

    def polygon(self, *corners):
        self.page.click("#polygon")
        for corner in corners:
            self.page.mouse.click(*self.place(*corner))
        self.page.mouse.dblclick(*self.place(*corners[-1]))
        self.page.click("#polygon")

    def square(self, col, row, side):
        right, low = col + side, row + side
        self.polygon((col, row), (right, row), (right, low), (col, low))

    def point(self, col, row):
        self.page.click("#point")
        self.page.mouse.click(*self.place(col, row))
        self.page.click("#point")

    def count(self, name):
        return self.page.inner_text(f"#classes button[data-name='{name}'] .count")

    def see(self, layer):
        shown = f"img.leaflet-tile-loaded[src*='tiles/{layer}/']"
        self.page.wait_for_selector(shown, state="attached")

    def adapt(self):
        self.page.click("#adapt")
        self.page.wait_for_selector("#cancel", state="visible")
        self.page.wait_for_selector("#cancel", state="hidden", timeout=60_000)
        return self.page.inner_text("#words")


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_from_drawing_to_the_exported_map(image, classes, checkpoints, tmp_path):
    shop = Workshop(image, checkpoints["maml"], tmp_path / "out")
    with served(shop) as address, open_page(address) as page:
        person = Person(page)
        for index, name in enumerate(LEGEND.names):
            row, col = np.argwhere(classes == index)[0].tolist()
            person.choose(name)
            person.square(col + 1, row + 1, 6)
        until(lambda: person.count("Urban"))
        assert {s.label for s in shop.shapes} == set(LEGEND.names)
        assert all(30 <= n <= 42 for n in shop.pixels().values())

        person.point(2.5, 3.5)
        until(lambda: len(shop.shapes) == 4)
        assert shop.shapes[-1].geometry.coordinates == pytest.approx((2.5, 3.5), abs=0.2)
        page.click("#undo")
        until(lambda: len(shop.shapes) == 3)
        page.click("#erase")
        row, col = np.argwhere(classes == 0)[0].tolist()
        page.mouse.click(*person.place(col + 4, row + 4))
        until(lambda: len(shop.shapes) == 2)
        page.keyboard.press("Control+z")
        until(lambda: len(shop.shapes) == 3)

        assert "steps" in person.adapt()
        person.see("map")
        with page.expect_download() as taken:
            page.click("#exports a[href='export/map.tif']")
        taken.value.save_as(tmp_path / "taken.tif")
        with rasterio.open(tmp_path / "taken.tif") as made:
            assert (made.read(1) == LEGEND.to_ids(classes)).mean() > 0.5
        page.check("[value=confidence]")
        page.wait_for_selector(
            "img.leaflet-tile-loaded[src*='tiles/confidence/']", state="attached"
        )


def test_a_large_image_is_mapped_where_one_looks(
    image, classes, checkpoints, tmp_path, monkeypatch
):
    monkeypatch.setattr(view, "AT_ONCE", 1000)
    shop = Workshop(image, checkpoints["maml"], tmp_path / "out")
    with served(shop) as address, open_page(address) as page:
        person = Person(page)
        for index, name in enumerate(LEGEND.names):
            row, col = np.argwhere(classes == index)[0].tolist()
            person.choose(name)
            person.square(col + 1, row + 1, 6)
        until(lambda: len(shop.shapes) == 3)
        assert not page.is_visible("#map-all")
        page.evaluate("studioMap.fitBounds([[-30, 10], [-10, 40]], { animate: false })")
        assert "pixels in the middle of the view" in person.adapt()
        with rasterio.open(tmp_path / "out/map.tif") as part:
            assert part.width < 80
        page.click("#map-all")
        until(lambda: "mapped all" in page.inner_text("#words"))
        with rasterio.open(tmp_path / "out/map.tif") as made:
            assert (made.width, made.height) == (80, 48)


def test_a_new_class_and_an_error_that_is_shown(image, classes, open_checkpoint, tmp_path):
    shop = Workshop(image, open_checkpoint, tmp_path / "out")
    with served(shop) as address, open_page(address) as page:
        person = Person(page)
        page.click("#polygon")
        assert "class first" in page.inner_text("#words")
        page.fill("#class-name", "<b>Reed</b>")
        page.press("#class-name", "Enter")
        page.wait_for_selector("#classes button")
        assert page.inner_text("#classes button").strip() == "<b>Reed</b>"
        person.point(4, 4)
        until(lambda: len(shop.shapes) == 1)
        assert "only class that is labelled" in person.adapt()
        assert page.get_attribute("#words", "class") == "error"
