"""The server answers this machine and who knows the token, and nobody else."""

import io

import pytest
from PIL import Image
from starlette.testclient import TestClient

from landmeta.errors import ConfigError
from landmeta.studio.server import LARGEST_BODY, Studio, listen, new_token
from landmeta.studio.workshop import Workshop
from tests.landmeta.studio.test_drawing import point

HOST = "http://127.0.0.1"


@pytest.fixture
def studio(image, checkpoints, tmp_path):
    return Studio(Workshop(image, checkpoints["maml"], tmp_path / "out"), "secret")


@pytest.fixture
def client(studio):
    return TestClient(studio.app(), base_url=f"{HOST}/secret/")


def test_without_the_token_there_is_nothing(studio):
    outside = TestClient(studio.app(), base_url=HOST)
    for address in ("/", "/state", "/wrong/state", "/static/studio.js", "/secre/state"):
        assert outside.get(address).status_code == 404
    assert outside.get("/secret/state").status_code == 200


def test_another_name_for_this_machine_is_refused(studio):
    """A page elsewhere could have its own name lead here, and read what is answered."""
    elsewhere = TestClient(studio.app(), base_url="http://example.org")
    assert elsewhere.get("/secret/state").status_code == 400


def test_tokens_are_long_and_differ():
    assert new_token() != new_token()
    assert len(new_token()) >= 32


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name in ("studio.js", "studio.css", "vendor/leaflet.js", "vendor/leaflet-geoman.min.js"):
        assert client.get(f"static/{name}").status_code == 200
    assert client.get("static/../server.py").status_code == 404
    assert client.get("static/%2e%2e/server.py").status_code == 404


def test_state_drawing_and_tiles(client):
    state = client.get("state").json()
    assert (state["width"], state["height"], state["levels"]) == (80, 48, 1)
    assert [c["name"] for c in state["classes"]] == ["Forest", "Water", "Urban"]
    kept = client.put("drawing", json=[point("Water", 3, 4)])
    assert kept.json()["pixels"]["Water"] == 1
    assert client.get("state").json()["drawing"] == [point("Water", 3, 4)]
    tile = Image.open(io.BytesIO(client.get("tiles/image/0/0/0.png").content))
    assert tile.size == (256, 256)
    for missing in ("tiles/image/1/0/0.png", "tiles/map/0/0/0.png", "tiles/other/0/0/0.png"):
        assert client.get(missing).status_code == 404
    taken = client.get("export/labels.gpkg")
    assert taken.status_code == 200
    assert "image_labels.gpkg" in taken.headers["content-disposition"]


def test_what_is_refused_says_why(client):
    refused = client.put("drawing", json=[point("Lava", 3, 4)])
    assert refused.status_code == 422
    assert refused.json() == {
        "what": "'Lava' is no class here",
        "remedy": "add the class first",
    }
    assert client.put("drawing", content=b"[").status_code == 400
    assert client.put("drawing", content=b" " * (LARGEST_BODY + 1)).status_code == 413
    assert client.post("classes", json={"nom": "Lava"}).status_code == 400
    assert client.get("export/drawing.json").status_code == 422
    assert client.get("export/..%2Fimage.tif").status_code in (404, 422)


def test_one_job_at_a_time(client, studio):
    studio.jobs._progress = type(studio.jobs.progress)(1, "running", "mapping", 0.5)
    assert client.post("adapt", json={}).status_code == 409
    assert client.post("suggest", json={}).status_code == 409
    assert client.post("adapt", json={"hold_out": 7}).status_code == 400
    assert client.get("job").json()["share"] == 0.5


def test_a_port_that_is_taken():
    with listen(0) as first, pytest.raises(ConfigError, match="cannot be used"):
        first.listen()
        listen(first.getsockname()[1])
