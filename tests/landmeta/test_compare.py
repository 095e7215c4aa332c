"""Comparing: same draws for all, figures recomputable from the rows, nothing half done."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from landmeta.checkpoint import load_checkpoint
from landmeta.compare import compare
from landmeta.config import CompareConfig
from landmeta.errors import CheckpointMismatch, ConfigError, OutputExists, TooFewTiles
from landmeta.methods import Method
from landmeta.report import write_report
from landmeta.stats import MEASURES
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
        "baselines": ["random_forest", "nearest_prototype"],
        "variants": {
            "head only": {
                "of": "pretrain",
                "tune": {
                    "shots": [2], "draws": 1, "queries": 2, "sgd_rates": [0.05], "adam_rates": [],
                    "layers": ["head"], "steps": [1, 2],
                },
            },
            "stopped": {"of": "pretrain", "early_stopping": True},
            "with forest": {"of": "pretrain", "forest": 0.5},
            "forest alone": {"of": "pretrain", "forest": 1.0},
        },
        "curve": [0, 1, 3],
        "curve_shots": 2,
    }  # fmt: skip
    return CompareConfig.model_validate(settings | more)


METHODS = {
    "maml", "fomaml", "pretrain", "scratch", "random_forest", "nearest_prototype", "head only",
    "stopped", "with forest", "forest alone",
}  # fmt: skip
LABELS_NEEDED = {"random_forest", "nearest_prototype"}
PLAIN = {"baselines": [], "variants": {}, "curve": []}


@pytest.fixture(scope="module")
def found(tiny, checkpoints, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "out"
    return compare(_config(tiny, checkpoints, out), quiet=True)


def test_every_method_is_judged_on_every_region_shot_and_draw(found):
    counts = found.results.groupby(["method", "shots", "task"]).size()
    assert set(found.results["method"]) == METHODS
    assert set(found.results["task"]) == {"t", "u"}
    assert (counts == 2).all()
    assert len(counts) == len(METHODS) * 2 * 2


def test_a_forest_beside_a_network_is_the_baseline_when_it_votes_alone(found):
    rows = found.results.set_index(["method", "shots", "task", "draw"])["miou"]
    alone, forest = (rows[name].xs(2) for name in ("forest alone", "random_forest"))
    pd.testing.assert_series_equal(alone, forest)
    for name in ("with forest", "forest alone"):  # no label, no forest
        pd.testing.assert_series_equal(rows[name].xs(0), rows["pretrain"].xs(0))
    assert not rows["with forest"].xs(2).equals(rows["pretrain"].xs(2))


def test_a_method_compared_with_itself_does_not_differ(tiny, checkpoints, tmp_path):
    twins = {"pretrain": checkpoints["pretrain"], "twin": checkpoints["pretrain"]}
    found = compare(_config(tiny, twins, tmp_path / "out", **PLAIN), quiet=True)
    assert (found.differences["mean"] == 0).all()
    assert (found.differences["p"] == 1).all()
    assert len(found.sentences) == 2
    assert all("no method is really better than pretrain" in s for s in found.sentences)


def test_summary_can_be_recomputed_from_the_rows_on_disk(found):
    rows = pd.read_csv(found.folder / "results.csv")
    summary = pd.read_csv(found.folder / "summary.csv")
    regions = rows.groupby(["method", "shots", "task"])["miou"].mean()
    for record in summary[summary["measure"] == "miou"].to_dict("records"):
        expected = regions[record["method"], record["shots"]].mean()
        assert record["mean"] == pytest.approx(expected, nan_ok=True)
    pd.testing.assert_frame_equal(pd.read_parquet(found.folder / "results.parquet"), found.results)


def test_same_seed_same_scores(tiny, checkpoints, tmp_path, found):
    only = {name: checkpoints[name] for name in ("fomaml", "pretrain")}
    fewer = {"variants": {}, "curve": []}
    again = compare(_config(tiny, only, tmp_path / "out", **fewer), quiet=True)
    columns = ["method", "shots", "task", "draw", *MEASURES, "adapted_parameters"]
    same = found.results[found.results["method"].isin(again.results["method"])]
    pd.testing.assert_frame_equal(again.results[columns], same[columns].reset_index(drop=True))


def test_pictures_and_page_are_made(found, tmp_path):
    names = {p.name for p in (found.folder / "regions").iterdir()}
    assert names == {"t.png", "u.png"}
    page = tmp_path / "report.html"
    write_report(page, found, title="A <b>title</b>", facts={"data": "tiny & small"})
    html = page.read_text(encoding="utf-8")
    assert "A &lt;b&gt;title" in html
    assert html.count("data:image/png;base64,") == 2 + 3  # regions; scores, methods, curve
    assert "http" not in html.replace("http-equiv", "")
    for sentence in found.sentences:
        assert sentence.split(":")[0] in html
    mean = found.summary.query("method == 'maml' and shots == 2 and measure == 'miou'")["mean"]
    assert f"{float(mean.iloc[0]):.3f}" in html
    findings = (found.folder / "findings.md").read_text(encoding="utf-8")
    assert f"{float(mean.iloc[0]):.3f}" in findings
    for words in ("No ranks with 2 shots: ranks need at least 5 regions, here are 2", "Costs"):
        assert words in html
        assert words in findings


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
    able = ~(found.results["method"].isin(LABELS_NEEDED) & (found.results["shots"] == 0))
    values = found.results.loc[able, list(MEASURES)].to_numpy()
    assert np.isfinite(values).all()
    assert ((values >= 0) & (values <= 1)).all()


def test_what_needs_labels_is_left_out_without_and_said(found):
    rows = found.results[found.results["method"].isin(LABELS_NEEDED)]
    assert rows.loc[rows["shots"] == 0, list(MEASURES)].isna().all(axis=None)
    assert rows.loc[rows["shots"] == 2, list(MEASURES)].notna().all(axis=None)
    for name in LABELS_NEEDED:
        said = f"{name} has no scores with 0 shots: {name} learns from labelled pixels alone"
        assert any(s.startswith(said) for s in found.sentences)


def test_a_network_that_cannot_is_left_out_and_the_others_are_not(
    tiny, checkpoints, tmp_path, monkeypatch
):
    def start(self, params, support, classes):
        if support is None and self.settings.method == "fomaml":
            raise ConfigError("it has no idea without labels", remedy="give some")
        return params

    monkeypatch.setattr(Method, "start", start)
    only = {name: checkpoints[name] for name in ("fomaml", "pretrain")}
    found = compare(_config(tiny, only, tmp_path / "out", **PLAIN), quiet=True)
    scores = found.summary.query("measure == 'miou'").set_index(["method", "shots"])["mean"]
    assert scores.isna().to_dict() == {
        ("fomaml", 0): True, ("fomaml", 2): False, ("pretrain", 0): False, ("pretrain", 2): False,
    }  # fmt: skip
    assert "fomaml has no scores with 0 shots: it has no idea without labels" in found.sentences
    assert "0 shots: nothing to compare with pretrain" in found.sentences


def test_costs_are_those_of_what_adapts(found, checkpoints):
    theta = load_checkpoint(checkpoints["pretrain"]).params
    head = sum(p.numel() for name, p in theta.items() if name.startswith("head."))
    rows = found.results.set_index(["method", "shots"])["adapted_parameters"]
    assert (rows["head only", 2] == head).all()
    assert (rows["maml", 2] == sum(p.numel() for p in theta.values())).all()
    assert (rows["maml", 0] == 0).all()
    assert (found.results["adapt_seconds"].dropna() > 0).all()
    assert (found.results["predict_seconds"].dropna() > 0).all()


def test_a_curve_begins_at_zero_shots_and_is_one_path(found):
    rows = pd.read_csv(found.folder / "curve.csv")
    assert set(rows["method"]) == METHODS - LABELS_NEEDED
    counts = rows.groupby(["method", "step"]).size()
    assert set(counts.index.get_level_values("step")) == {0, 1, 3}
    assert (counts == 4).all()
    start = rows[rows["step"] == 0].groupby("method")["miou"].mean()
    zero = found.results[found.results["shots"] == 0].groupby("method")["miou"].mean()
    for method in set(rows["method"]) - {"with forest", "forest alone"}:
        assert start[method] == pytest.approx(zero[method])


def test_a_curve_passes_through_the_scores_of_the_tuned_steps(tiny, checkpoints, tmp_path, found):
    steps = found.facts.steps["maml"]
    only = {"pretrain": checkpoints["pretrain"], "maml": checkpoints["maml"]}
    more = PLAIN | {"curve": [steps]}
    again = compare(_config(tiny, only, tmp_path / "out", **more), quiet=True)
    curve = again.curve.query("method == 'maml' and measure == 'miou'")["mean"].iloc[0]
    scores = again.summary.query("method == 'maml' and measure == 'miou' and shots == 2")
    assert curve == pytest.approx(scores["mean"].iloc[0])


def test_ways_and_budgets_are_told(found):
    assert found.facts.ways["head only"][2].endswith("of head only")
    assert found.facts.ways["pretrain"][0] == "no step"
    assert found.facts.training["pretrain"]["steps"] == 6
    assert found.facts.training["random_forest"] is None
    assert "Budgets of training" in found.text()
    tuning = pd.read_csv(found.folder / "tuning_head_only.csv")
    assert set(tuning["layers"]) == {"head"}


def test_variants_and_names_that_do_not_fit_are_refused(tiny, checkpoints, tmp_path):
    for more, words in (
        ({"variants": {"x": {"of": "nobody"}}}, "'nobody' is none of the checkpoints"),
        ({"variants": {"maml": {"of": "pretrain"}}}, "two methods of one name: maml"),
    ):
        with pytest.raises(ValidationError, match=words):
            _config(tiny, checkpoints, tmp_path / "out", **more)
