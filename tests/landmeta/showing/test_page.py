import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from landmeta.errors import OutputExists
from landmeta.leakage.proof import FILE
from landmeta.showing.page import show
from landmeta.showing.world import frame, place_of
from landmeta.taskset import TaskSet
from tests.landmeta.leakage.tiles import write
from tests.program import invoke


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and wanted.items() <= a.items()]


@pytest.fixture(scope="module")
def path(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "page.html"
    show(tiny, out, quiet=True)
    return out


def picture(address):
    kind, data = address.split(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_nothing_is_fetched_from_anywhere(path):
    text = path.read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    for _, attributes in Page(path).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert not re.findall(r"url\((?!data:)", text)
    policy = Page(path).all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy[0]["content"].startswith("default-src 'none'; img-src data:;")


def test_every_task_is_on_the_map_among_the_bars_and_the_tiles(path, tiny):
    page = Page(path)
    for tag in ("g", "div", "section", "circle"):
        shown = {a["data-task"]: a["data-split"] for a in page.all(tag) if "data-task" in a}
        assert shown == {t: s for s in ("train", "val", "test") for t in tiny.tasks(s)}, tag
    anchors = {a["id"] for a in page.all("section")}
    assert {a["href"][1:] for a in page.all("a")} - {"map", "shares", "unlike", "tiles"} == anchors
    assert {"Forest", "Water", "Urban"} <= set(re.findall(r"\w+", page.text))
    assert "no leakage found" in page.text
    strangest_first = [a["data-task"] for a in page.all("tr") if "data-task" in a]
    assert strangest_first == ["u", "t", "v"]  # ever darker, all brighter than what is trained on


def test_the_contact_sheet_shows_image_over_label(path, tiny):
    page = Page(path)
    image, label = page.all("img", loading="lazy")[:2]
    ids = tiny.tile_ids("a")[np.unique(np.linspace(0, 7, 6).round().astype(int))]
    sheet = np.asarray(picture(label["src"]).convert("RGB"))
    assert sheet.shape[:2] == (int(label["height"]), int(label["width"]))
    assert picture(image["src"]).size == (sheet.shape[1], sheet.shape[0])
    side = sheet.shape[0]
    for place, tile in enumerate(ids.tolist()):
        shown = sheet[:, place * (side + 2) :][:, :side]
        truth = tiny.legend.palette()[tiny.read([tile]).label[0]]
        middles = (np.arange(16) + 0.5) * side / 16
        np.testing.assert_array_equal(
            shown[np.ix_(middles.astype(int), middles.astype(int))], truth
        )


def test_bars_are_the_shares_of_the_classes(path, tiny):
    page = Page(path)
    widths = [a["style"] for a in page.all("span") if a.get("style", "").startswith("width")]
    pixels = tiny.class_pixels(tiny.tile_ids("a"))
    shares = pixels[pixels > 0] / pixels.sum()
    for style, share in zip(widths, shares, strict=False):
        assert float(re.match(r"width:([\d.]+)%", style)[1]) == pytest.approx(100 * share, abs=1e-3)


def test_a_leak_and_a_missing_proof_are_said(tmp_path):
    taskset = write(
        tmp_path / "set", [{"source": "x.jpg"}, {"source": "x.jpg", "region": "t", "split": "test"}]
    )
    show(taskset, tmp_path / "one.html", quiet=True)
    assert "not checked for leakage" in Page(tmp_path / "one.html").text
    assert invoke("check", taskset.folder, "--write", "-q").exit_code == 2
    show(taskset, tmp_path / "two.html", quiet=True)
    text = Page(tmp_path / "two.html").text
    assert "LEAKAGE" in text
    assert "file 'x.jpg' is in train and test" in text
    assert not Page(tmp_path / "two.html").all("svg", id="world")  # no place is known
    (taskset.folder / FILE).write_text('{"passed": true}')
    show(taskset, tmp_path / "three.html", quiet=True)
    assert "not checked for leakage" in Page(tmp_path / "three.html").text


def test_names_are_text_and_no_markup(tmp_path):
    evil = '</script><img src=x onerror="alert(1)">'
    tiles = [
        {"region": evil},
        {"region": "'b'", "split": "val"},
        {"region": "${c}", "split": "test"},
    ]
    show(write(tmp_path / "set", tiles), tmp_path / "page.html", quiet=True)
    page = Page(tmp_path / "page.html")
    assert not page.all("img", src="x")
    assert [a["data-task"] for a in page.all("section")] == [evil, "'b'", "${c}"]
    assert len(page.all("script")) == 1


def test_tasks_across_the_antimeridian_do_not_stretch_around_the_world(tmp_path):
    tiles = [
        {"crs": "EPSG:32660", "x": 833_700},  # itself across
        {"crs": "EPSG:32601", "x": 190_000},
        {"crs": "EPSG:32633", "x": 500_000, "split": "test", "region": "t"},
    ]
    taskset = write(tmp_path / "set", tiles)
    place = place_of(taskset, "a")
    xs = [float(v) for v in re.findall(r"[ML](-?[\d.]+) ", place.path)]
    assert all(abs(x) > 175 for x in xs)
    assert min(xs) < 0 < max(xs)
    for part in place.path.split("M")[1:]:
        own = [float(v) for v in re.findall(r"(?:^|L)(-?[\d.]+) ", part)]
        assert max(own) - min(own) < 1
    assert abs(place.x) > 175


def test_the_map_opens_where_the_tasks_are(tiny):
    places = [place_of(tiny, t) for t in "abc"]
    x, y, width, height = frame(places)
    assert width < 40
    for place in places:
        assert x < place.x < x + width
        assert y < place.y < y + height
    assert place_of(tiny, "a").x == pytest.approx(15, abs=0.1)
    assert -45.5 < place_of(tiny, "a").y < -44.5


def test_the_command(tiny, tmp_path):
    out = tmp_path / "page.html"
    result = invoke("show", tiny.folder, "-o", out, "-q")
    assert result.exit_code == 0, result.output
    assert str(out) in result.output
    again = invoke("show", tiny.folder, "-o", out, "-q")
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    assert invoke("show", tiny.folder, "-o", out, "-q", "--overwrite").exit_code == 0
    with pytest.raises(OutputExists):
        show(TaskSet(tiny.folder), out, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


WATCH = """<script>
const bad = document.documentElement.dataset;
window.addEventListener("error", e => bad.error = e.message);
window.addEventListener("securitypolicyviolation", e => bad.error = e.violatedDirective);
</script>"""
TRY = """<script>
const said = document.documentElement.dataset;
document.querySelector(".pick[value=train]").click();
said.sections = every("section:not([hidden])").map(e => e.dataset.task).join();
const search = document.getElementById("search");
search.value = "U"; search.dispatchEvent(new Event("input"));
said.found = every("section:not([hidden])").map(e => e.dataset.task).join();
const image = document.querySelector(".heat img"), box = image.getBoundingClientRect();
image.dispatchEvent(new MouseEvent("mousemove", {clientX: box.right - 2, clientY: box.top + 2}));
said.heat = document.querySelector(".heat + p output").textContent;
const wide = () => Number(document.getElementById("world").getAttribute("viewBox").split(" ")[2]);
said.before = wide(); document.querySelector("[data-zoom='.6']").click(); said.after = wide();
</script>"""


def test_it_works_in_a_browser(path, tmp_path):
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        pytest.skip("no Chromium to open the page in")
    text = path.read_text()
    page = tmp_path / "watched.html"
    page.write_text(
        text.replace("<style>", WATCH + "<style>", 1).replace("</body>", TRY + "</body>")
    )
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    done = subprocess.run(
        [*command[:-1], f"--user-data-dir={tmp_path / 'profile'}", command[-1]],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if "<html" not in done.stdout:
        pytest.skip(f"Chromium does not start here: {done.stderr[-300:]}")
    root = dict(re.findall(r'data-(\w+)="([^"]*)"', done.stdout[: done.stdout.index(">", 30) + 1]))
    assert "error" not in root, root
    assert root["sections"] == "v,t,u"
    assert root["found"] == "u"
    assert re.fullmatch(r"a – u: \d+\.\d\d", root["heat"])
    assert float(root["after"]) == pytest.approx(0.6 * float(root["before"]))
