"""Comparing: same draws for all, figures recomputable from the rows, nothing half done."""

import numpy as np
import pandas as pd
import pytest

from landmeta.compare import compare
from landmeta.config import CompareConfig
from landmeta.errors import CheckpointMismatch, ConfigError, OutputExists, TooFewTiles
from landmeta.report import write_report
from tests.tiny import tiny_taskset


def _config(tiny, checkpoints, out, **more):
    settings = {
        "taskset": tiny.folder,
        "out": out,
        "checkpoints": checkpoints,
        "device": "cpu",
        "shots": (0, 2),
        "draws": 2,
        "queries": 3,
    }
    return CompareConfig.model_validate(settings | more)


@pytest.fixture(scope="module")
def found(tiny, checkpoints, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "out"
    return compare(_config(tiny, checkpoints, out), quiet=True)


def test_every_method_is_judged_on_every_region_shot_and_draw(found):
    counts = found.results.groupby(["method", "shots", "task"]).size()
    assert set(found.results["method"]) == {"maml", "fomaml", "pretrain", "scratch"}
    assert set(found.results["task"]) == {"t", "u"}
    assert (counts == 2).all()
    assert len(counts) == 4 * 2 * 2


def test_a_method_compared_with_itself_does_not_differ(tiny, checkpoints, tmp_path):
    twins = {"pretrain": checkpoints["pretrain"], "twin": checkpoints["pretrain"]}
    found = compare(_config(tiny, twins, tmp_path / "out"), quiet=True)
    assert (found.differences["mean"] == 0).all()
    assert (found.differences["p"] == 1).all()
    assert all("no real difference" in s for s in found.sentences)


def test_summary_can_be_recomputed_from_the_rows_on_disk(found):
    rows = pd.read_csv(found.folder / "results.csv")
    summary = pd.read_csv(found.folder / "summary.csv")
    regions = rows.groupby(["method", "shots", "task"])["miou"].mean()
    for record in summary[summary["measure"] == "miou"].to_dict("records"):
        expected = regions[record["method"], record["shots"]].mean()
        assert record["mean"] == pytest.approx(expected)


def test_same_seed_same_scores(tiny, checkpoints, tmp_path, found):
    again = compare(_config(tiny, checkpoints, tmp_path / "out"), quiet=True)
    columns = ["method", "shots", "task", "draw", "miou", "accuracy", "macro_f1"]
    pd.testing.assert_frame_equal(again.results[columns], found.results[columns])


def test_pictures_and_page_are_made(found, tmp_path):
    names = {p.name for p in (found.folder / "regions").iterdir()}
    assert names == {"t.png", "u.png"}
    page = tmp_path / "report.html"
    write_report(page, found, title="A <b>title</b>", facts={"data": "tiny & small"})
    html = page.read_text(encoding="utf-8")
    assert "A &lt;b&gt;title" in html
    assert html.count("data:image/png;base64,") == 3
    assert "http" not in html.replace("http-equiv", "")
    for sentence in found.sentences:
        assert sentence.split(":")[0] in html
    mean = found.summary.query("method == 'maml' and shots == 2 and measure == 'miou'")["mean"]
    assert f"{float(mean.iloc[0]):.3f}" in html


def test_bad_requests_leave_no_folder(tiny, checkpoints, tmp_path):
    out = tmp_path / "out"
    cases = (
        ({"reference": "nobody"}, ConfigError, "nobody"),
        ({"shots": (0, 8)}, TooFewTiles, "8 tiles, but 9"),
    )
    for more, error, words in cases:
        with pytest.raises(error, match=words):
            compare(_config(tiny, checkpoints, out, **more), quiet=True)
        assert not out.exists()
    other = tiny_taskset(tmp_path / "other")
    text = (other.folder / "taskset.json").read_text()
    (other.folder / "taskset.json").write_text(text.replace('"Urban"', '"Town"'))
    with pytest.raises(CheckpointMismatch, match="Town"):
        compare(_config(other, checkpoints, out), quiet=True)
    out.mkdir()
    with pytest.raises(OutputExists):
        compare(_config(tiny, checkpoints, out), quiet=True)
    assert list(tmp_path.glob(".*partial*")) == []


def test_scores_are_between_zero_and_one(found):
    values = found.results[["miou", "accuracy", "macro_f1"]].to_numpy()
    assert np.isfinite(values).all()
    assert ((values >= 0) & (values <= 1)).all()
