"""The benchmark counts, chooses, joins and compares as it says. Nothing is trained here."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from budgets import conformal_risk, within_budget
from compare import cut_totals, difference, holm, interval, missed_at_false, steps_to_baseline, summarise
from contenders import CONTENDERS, MAIN
from regimes import REGIMES
from report import ROOT, load, page, stated, summaries, table
from scipy import stats
from score_one import Case, case_row, choose, counts, curve_rows, overlaps, score_run, without_small
from store import collect, save_scores

from monai_instance_loss.metrics import InstanceConfusionMatrixMetric, Matching


def make_case(levels: list[int], wmh: list[int], name: str = "Utrecht/0") -> Case:
    shape = (1, 1, len(levels))
    return Case.of(name, np.array(levels, np.uint8).reshape(shape), torch.tensor(wmh).reshape(shape), 12.0)


# lesions: [0, 1], [3, 4], [9]; predictions at 0.5: [0..4] merges two, [7] is false; [12] is in other pathology
LEVELS_ = [150, 150, 110, 150, 150, 0, 0, 120, 0, 40, 0, 0, 180]
WMH = [1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 2]


def test_counts_by_hand() -> None:
    _, table = overlaps(make_case(LEVELS_, WMH), 100)
    # the merged one touches both lesions; one-to-one it finds one, as 2 / 5 is above 0.1
    assert counts(table) == {
        "true": 3, "predicted": 2, "touch_found": 2, "touch_false": 1, "one_found": 1, "one_false": 1,
    }  # fmt: skip


def test_case_row_by_hand() -> None:
    row = case_row(make_case(LEVELS_, WMH), (100, 1))
    # 4 shared voxels of 6 predicted and 5 true
    assert row["dice"] == pytest.approx(2 * 4 / 11)
    assert (row["merged"], row["split"]) == (1, 0)
    # touch: sensitivity 2/3, precision 1/2; one-to-one: 1/3 and 1/2
    assert row["touch_f1"] == pytest.approx(2 / (3 / 2 + 2))
    assert row["one_f1"] == pytest.approx(2 / (3 + 2))
    # no pair has an IoU above 0.5
    assert row["pq"] == 0
    assert (row["true_bin0"], row["touch_found_bin0"], row["one_found_bin0"]) == (3, 2, 1)
    assert row["true_mm3"] == 60


@pytest.mark.parametrize("smallest", [1, 2, 4])
def test_counts_equal_the_metric(smallest: int) -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 200, (12, 12, 8), generator=generator).byte()
    wmh = (torch.rand(12, 12, 8, generator=generator) > 0.9).long()
    case = Case.of("a", levels.numpy(), wmh, 1.0)
    pred, everything = overlaps(case, 180)
    row = counts(without_small(everything, smallest))
    mask = torch.isin(pred.labels, (everything.pred_voxels >= smallest).nonzero()[:, 0] + 1)
    for matching, found, false in (
        (Matching(), "touch_found", "touch_false"),
        (Matching("iou", 0.1, "max_cardinality"), "one_found", "one_false"),
    ):
        metric = InstanceConfusionMatrixMetric(metric_name=("tp", "fp"), matching=matching)
        metric(mask, (wmh == 1)[None, None])
        assert [row[found], row[false]] == [float(score) for score in metric.aggregate()]


def test_choice_takes_the_best_point_and_then_the_middle() -> None:
    # any cut from 0.25 to 0.6 finds the lesion alone; below 0.2 the second one is found as well as a false one
    cases = [make_case([0, 120, 0, 50, 0], [0, 1, 0, 0, 0])]
    assert choose([row for case in cases for row in curve_rows(case)]) == (100, 1)


def test_empty_cases_are_nan_or_zero() -> None:
    nothing, invented = make_case([0, 0, 0], [0, 0, 0]), make_case([0, 150, 0], [0, 0, 0])
    assert math.isnan(case_row(nothing, (100, 1))["one_f1"])
    assert math.isnan(case_row(nothing, (100, 1))["dice"])
    assert case_row(invented, (100, 1))["one_f1"] == 0
    assert math.isnan(case_row(invented, (100, 1))["cc_dice"])


def test_holm_by_hand() -> None:
    # 3 x 0.01 = 0.03; 2 x 0.02 = 0.04; 1 x 0.03 = 0.03, but no smaller than the one before
    assert holm({"a": 0.03, "b": 0.01, "c": 0.02}) == pytest.approx({"b": 0.03, "c": 0.04, "a": 0.04})


def test_interval_covers_the_mean_of_seeds_and_cases() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        values = rng.normal(size=(6, 1)) + rng.normal(size=(1, 40)) + rng.normal(size=(6, 40))
        _, low, high = interval(values, seed=trial)
        covered += low <= 0 <= high
    # 95 % of 60 are 57; with 6 seeds the bootstrap is a little short
    assert 46 <= covered <= 60
    assert interval(np.full((3, 4), 0.25)) == (0.25, 0.25, 0.25)
    assert math.isnan(interval(np.full((1, 4), 0.25))[1])


def made_table(values: dict[str, list[list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"row": row, "seed": seed, "case": str(case), "one_f1": value}
            for row, seeds in values.items()
            for seed, cases in enumerate(seeds)
            for case, value in enumerate(cases)
        ]
    )


def test_difference_is_paired_by_seed_and_case() -> None:
    theirs = np.random.default_rng(0).random((2, 10))
    mine = theirs + np.linspace(0.1, 0.2, 10)
    apart = difference(made_table({"A": mine.tolist(), "B": theirs.tolist()}), "A", "B", "one_f1")
    assert apart["mean"] == pytest.approx(0.15)
    assert 0.1 <= apart["low"] < 0.15 < apart["high"] <= 0.2
    assert apart["p"] == pytest.approx(stats.wilcoxon(np.linspace(0.1, 0.2, 10)).pvalue)


def test_missed_at_no_more_false() -> None:
    lines = [(0.2, 4, 6), (0.5, 3, 2), (0.8, 1, 0)]
    curves = pd.DataFrame(
        [
            {
                "row": "A",
                "seed": 0,
                "part": "test",
                "case": "x",
                "threshold": t,
                "true": 5,
                "one_found": f,
                "one_false": k,
            }
            for t, f, k in lines
        ]
    )
    assert missed_at_false(curves, "A", "one", {0: 2.0}) == 2
    assert missed_at_false(curves, "A", "one", {0: 1.0}) == 4
    assert cut_totals(curves, "A", "one").sensitivity.tolist() == [0.8, 0.6, 0.2]


def test_steps_to_the_baseline() -> None:
    def run(row: str, f1: list[float]) -> dict:
        return {"row": row, "seed": 0, "curve": [{"step": 100 * (k + 1), "f1": v} for k, v in enumerate(f1)]}

    runs = [run("DiceCE", [0.1, 0.2, 0.3, 0.4]), run("A", [0.3, 0.5, 0.6, 0.6]), run("B", [0, 0, 0.1, 0.2])]
    assert steps_to_baseline(runs, "A") == [0.5]
    assert steps_to_baseline(runs, "B") == [math.inf]


def test_runs_are_joined_once(tmp_path) -> None:
    for seed in (0, 1):
        stem = tmp_path / "work" / "wmh" / "DiceCE" / f"seed{seed}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        test = [make_case(LEVELS_, WMH, f"Utrecht/{k}") for k in range(3)]
        save_scores(stem, {"regime": "wmh", "row": "DiceCE", "seed": seed}, *score_run(test[:1], test))
        curve = [{"step": 100, "f1": 0.5}]
        stem.with_suffix(".json").write_text(json.dumps({"row": "DiceCE", "seed": seed, "curve": curve}))
    results = tmp_path / "results"
    assert collect(tmp_path / "work", results, {}) == 2
    first = [(path.name, path.read_bytes()) for path in sorted(results.iterdir())]
    assert collect(tmp_path / "work", results, {}) == 2
    assert first == [(path.name, path.read_bytes()) for path in sorted(results.iterdir())]
    cases, curves = pd.read_csv(results / "cases.csv"), pd.read_csv(results / "curves.csv.gz")
    # 2 seeds, 3 test cases, 2 points; 19 cuts of 1 validation and 3 test cases
    assert len(cases) == 12
    assert len(curves) == 2 * 19 * 4
    summary = summarise(cases, curves, json.loads((results / "runs.json").read_text())["runs"])
    entry = summary["rows"]["DiceCE"]
    assert entry["0.5"]["dice"][0] == pytest.approx(8 / 11, abs=1e-5)
    # above 0.55 neither the bridge of two lesions nor the false prediction is left: 4 shared of 4 and 5
    assert entry["chosen"]["dice"][0] == pytest.approx(8 / 9, abs=1e-5)


def test_a_budget_is_chosen_on_validation_cases_and_seen_on_test_cases() -> None:
    # (threshold, found, false) of validation cases: within 2 false ones most is found at 0.5
    val = [(0.2, 5, 6), (0.5, 4, 2), (0.8, 1, 0)]
    lines = [("val", f"Utrecht/{k}", *line) for k in (0, 1) for line in val]
    for site, false in (("Utrecht", 1), ("GE3T", 5)):
        lines += [("test", f"{site}/{k}", t, 0, false + k - 2) for k in (1, 2, 3) for t, _, _ in val]
    curve = pd.DataFrame(lines, columns=["part", "case", "threshold", "one_found", "one_false"]).assign(true=6)
    same, unseen = within_budget(curve, 2.0)
    assert (same["scanner"], same["false"], unseen["false"]) == ("same", 1, 5)
    assert within_budget(curve, -1.0) == []


def test_conformal_risk_is_kept_on_average() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for case in range(40):
        hidden = np.sort(rng.random(8))
        rows += [("val", f"c{case}", t, 8, int((hidden >= t).sum())) for t in np.linspace(0.05, 0.95, 19)]
    curve = pd.DataFrame(rows, columns=["part", "case", "threshold", "true", "touch_found"])
    # about a tenth of a lesion lies between two thresholds
    assert 0.3 - 0.16 <= conformal_risk(curve, 0.3, rng) <= 0.3
    # 1 / 21 of the risk is taken by the case to come
    assert math.isnan(conformal_risk(curve, 0.04, rng))


@pytest.mark.parametrize("row", CONTENDERS)
def test_every_loss_trains_on_a_batch_with_an_empty_patch(row: str) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 8, 8, 8, requires_grad=True)
    target = torch.zeros(2, 1, 8, 8, 8)
    target[0, 0, 2:4, 2:4, 2:4] = 1
    CONTENDERS[row].loss()(logits, target).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_the_documentation_states_the_stored_numbers() -> None:
    cases, curves, stored = load()
    found = summaries(cases, curves, stored["runs"])["wmh"]
    assert table(found, stated(found, MAIN)) in (ROOT / "README.md").read_text()
    assert page(found, tuple(found["rows"])) in (ROOT / "tests" / "benchmarks" / "README.md").read_text()


def test_no_case_is_in_two_parts(tmp_path, monkeypatch) -> None:
    made = [{"case": f"{site}/{k}"} for site in ("Utrecht", "Singapore", "GE3T") for k in range(18)]
    monkeypatch.setattr("regimes.wmh_cases", lambda *args, **kwargs: made)
    parts = REGIMES["wmh"].cases(tmp_path)
    names = [case["case"] for part in parts.values() for case in part]
    assert len(names) == len(set(names))
    assert {part: len(cases) for part, cases in parts.items()} == {"train": 12, "val": 8, "test": 32}
    assert all(not case["case"].startswith("GE3T") for part in ("train", "val") for case in parts[part])
    assert sum(case["case"].startswith("GE3T") for case in parts["test"]) == 16
