import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from landmeta import predict as predicting
from landmeta.errors import AlreadyMade, ConfigError, OutputExists, UnreadableFile
from landmeta.predict import predict
from landmeta.unfinished import folder_of, unfinished
from tests.rasters import PlaceInTile, read_raster, write_raster

ROOT = Path(__file__).parents[2]
CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)
OPTIONS = {"overlap": 3, "batch": 5, "entropy": True, "probabilities": True, "quiet": True}
RUN = f"""
import sys
from pathlib import Path
import numpy as np
from landmeta.predict import predict
from tests.rasters import PlaceInTile

raster, out, pause = sys.argv[1:]
classifier = PlaceInTile(
    np.array({CENTROIDS.tolist()}, np.float32), tile_size=8, fingerprint="f", pause=float(pause)
)
predict(classifier, Path(raster), Path(out), **{OPTIONS!r})
"""


def classifier(fingerprint="f"):
    return PlaceInTile(CENTROIDS, tile_size=8, fingerprint=fingerprint)


@pytest.fixture
def raster(tmp_path):
    pixels = np.random.default_rng(0).uniform(-1, 4, (2, 330, 40)).astype(np.float32)
    pixels[:, 100:140, 5:] = np.nan
    return write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))


def contents(folder):
    """Bytes of all files but the raster, by name."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "a.tif" and p.is_file()}


def start(raster, out, pause):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(raster), str(out), str(pause)], cwd=ROOT
    )


def chunks(out):
    return sorted(folder_of(out).glob("*.gz"))


def killed_after(raster, out, enough, pause=0.05):
    """Start a map in another process and kill it when so many chunks are done."""
    process = start(raster, out, pause)
    for _ in range(2000):
        if len(chunks(out)) >= enough or process.poll() is not None:
            break
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_map_goes_on_and_comes_out_the_same_bit_for_bit(tmp_path, raster):
    whole = tmp_path / "whole"
    predict(classifier(), raster, whole / "map.tif", **OPTIONS)
    expected = contents(whole)
    out = tmp_path / "map.tif"
    killed_after(raster, out, 1)
    first = len(chunks(out))
    killed_after(raster, out, first + 2)
    done = len(chunks(out))
    assert done > first
    assert contents(tmp_path) == {}, "something appeared before all was done"
    again = classifier()
    made = predict(again, raster, out, **OPTIONS)
    assert any(f"{done} parts were done" in note for note in made.notes)
    assert contents(tmp_path) == expected
    assert not folder_of(out).exists()
    everything = classifier()
    predict(everything, raster, tmp_path / "more.tif", **OPTIONS)
    assert 0 < sum(again.batches) < sum(everything.batches)


def test_chunks_may_be_missing_anywhere(tmp_path, raster, monkeypatch):
    predict(classifier(), raster, tmp_path / "whole" / "map.tif", **OPTIONS)
    out = tmp_path / "map.tif"
    stop_before_writing(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        predict(classifier(), raster, out, **OPTIONS)
    monkeypatch.undo()
    files = chunks(out)
    assert len(files) > 5
    for file in (files[0], files[3], files[4], files[-1]):
        file.unlink()
    predict(classifier(), raster, out, **OPTIONS)
    assert contents(tmp_path) == contents(tmp_path / "whole")


def stop_before_writing(monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(predicting, "write_layers", stop)


@pytest.mark.parametrize(
    "change",
    [
        {"flips": True},
        {"overlap": 4},
        {"batch": 6},
        {"entropy": False},
        {"fingerprint": "another model"},
        {"touch": True},
    ],
)
def test_what_was_made_otherwise_is_not_used(tmp_path, raster, monkeypatch, change):
    out = tmp_path / "map.tif"
    with monkeypatch.context() as patch:
        stop_before_writing(patch)
        with pytest.raises(KeyboardInterrupt):
            predict(classifier(), raster, out, **OPTIONS)
    assert chunks(out)
    change = dict(change)
    if change.pop("touch", False):
        os.utime(raster, (0, 0))
    other = classifier(change.pop("fingerprint", "f"))
    made = predict(other, raster, out, **OPTIONS | change)
    assert not any("went on" in note for note in made.notes)
    alone = classifier("x")
    predict(alone, raster, tmp_path / "alone.tif", **OPTIONS | change)
    assert other.batches == alone.batches
    np.testing.assert_array_equal(read_raster(out), read_raster(tmp_path / "alone.tif"))


def test_a_classifier_without_a_fingerprint_leaves_nothing(tmp_path, raster, monkeypatch):
    stop_before_writing(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        predict(classifier(None), raster, tmp_path / "map.tif", **OPTIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_an_error_about_the_input_leaves_nothing(tmp_path, raster, monkeypatch):
    class Broken(PlaceInTile):
        def probabilities(self, image):
            if len(self.batches) > 40:
                raise OSError(28, "No space left on device")
            return super().probabilities(image)

    broken = Broken(CENTROIDS, tile_size=8, fingerprint="f")
    with pytest.raises(Exception, match="No space left"):
        predict(broken, raster, tmp_path / "map.tif", **OPTIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_a_crash_keeps_what_is_done(tmp_path, raster):
    class Crashes(PlaceInTile):
        def probabilities(self, image):
            if len(self.batches) > 40:
                raise RuntimeError("CUDA out of memory")
            return super().probabilities(image)

    out = tmp_path / "map.tif"
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(Crashes(CENTROIDS, tile_size=8, fingerprint="f"), raster, out, **OPTIONS)
    assert chunks(out)
    assert any("went on" in n for n in predict(classifier(), raster, out, **OPTIONS).notes)


def test_a_damaged_chunk_is_found_and_named(tmp_path, raster, monkeypatch):
    out = tmp_path / "map.tif"
    with monkeypatch.context() as patch:
        stop_before_writing(patch)
        with pytest.raises(KeyboardInterrupt):
            predict(classifier(), raster, out, **OPTIONS)
    file = chunks(out)[2]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(UnreadableFile, match=file.name):
        predict(classifier(), raster, out, **OPTIONS)
    assert not out.exists()
    assert len(chunks(out)) > 5
    predict(classifier(), raster, out, **OPTIONS)  # as its remedy says


def test_two_processes_do_not_make_one_map(tmp_path, raster):
    out = tmp_path / "map.tif"
    process = start(raster, out, 0.05)
    try:
        while not chunks(out):
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(ConfigError, match=r"map\.tif: another process"):
            predict(classifier(), raster, out, **OPTIONS)
        assert chunks(out)  # and the other one's work is still there
    finally:
        process.kill()
        process.wait()


def test_a_map_made_of_the_same_is_said_to_be_there(tmp_path, raster):
    out = tmp_path / "map.tif"
    predict(classifier(), raster, out, **OPTIONS)
    again = classifier()
    with pytest.raises(AlreadyMade, match="same raster by the same model"):
        predict(again, raster, out, **OPTIONS)
    assert again.batches == []
    with pytest.raises(OutputExists) as error:
        predict(classifier("other"), raster, out, **OPTIONS)
    assert not isinstance(error.value, AlreadyMade)
    predict(classifier("other"), raster, out, overwrite=True, **OPTIONS)


def test_rows_come_back_in_any_portions(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (3, 157, 11)).astype(np.uint8)
    with unfinished(tmp_path / "map.tif", "f") as work:
        with work.chunk(0) as chunk:
            for start in range(0, 157, 13):
                chunk.add(rows[:, start : start + 13])
        back = np.concatenate(list(work.read(0, 3, 11)), axis=1)
        assert work.done == {0}
    np.testing.assert_array_equal(back, rows)
    assert list(tmp_path.iterdir()) == []
