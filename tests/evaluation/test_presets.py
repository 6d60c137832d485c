from __future__ import annotations

import json
import math
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_instance_loss.evaluation.preset_scores import score_case
from monai_instance_loss.evaluation.presets import NAMES, get_preset
from monai_instance_loss.metrics import Coverage, Matching

DATA = Path(__file__).parent / "data"
# presets with the settings of another
SAME = {"brats-ssa": "brats-gli", "brats-ped": "brats-gli"}


@pytest.fixture(scope="module")
def made() -> tuple[list[Any], int]:
    module = runpy.run_path(str(DATA / "preset_cases.py"))
    cases = module["cases"]()
    return cases, module["checksum"](cases)


def volumes(name: str, case: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the official scorer was given: labels, or everything above 0; of WMH's reference, 2 is other pathology."""
    if name.startswith("brats"):
        return case.y_pred, case.y
    return case.y_pred > 0, np.where(case.y == 3, 1, case.y) if name == "wmh" else case.y > 0


def differences(name: str, cases: list[Any], **overrides: Any) -> Iterator[str]:
    """What is said otherwise than by the official scorer, case by case."""
    stored = json.loads((DATA / f"preset_{name}.json").read_text())
    preset = get_preset(name, **overrides)
    tolerance = np.array([1e-4 if column.lower().endswith(("hd95", "h95")) else 1e-6 for column in stored["columns"]])
    for index, (case, expected) in enumerate(zip(cases, stored["values"], strict=True)):
        y_pred, y = volumes(name, case)
        scores = score_case(y_pred, y, spacing_mm=case.spacing_mm, preset=preset)
        regions = [scores] if preset.regions is None else [scores[region] for region in preset.regions]
        found = np.array([list(region.values()) for region in regions], np.float64)
        # None is where the scorer stops with an error
        wanted = np.array([expected] if preset.regions is None else expected, dtype=np.float64)
        if not ((np.abs(found - wanted) <= tolerance) | (np.isnan(found) & np.isnan(wanted))).all():
            yield f"case {index}: {found.tolist()}, but officially {wanted.tolist()}"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SAME])
def test_every_number_is_that_of_the_official_scorer(name, made):
    cases, checksum = made
    stored = json.loads((DATA / f"preset_{name}.json").read_text())
    assert stored["checksum"] == checksum, "the cases are not those that were scored"
    assert len(cases) == len(stored["values"]) >= 100
    assert list(get_preset(name).columns) == stored["columns"]
    assert list(differences(name, cases)) == []


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("brats-gli", {"merge_steps": 2}),
        ("brats-gli", {"unscored_volume_mm3": 49.0}),
        ("brats-gli", {"connectivity": 2}),
        ("brats-gli", {"missed_distance_mm": 373.0}),
        ("brats-men", {"merge_steps": 0}),
        ("brats-met", {"unscored_volume_mm3": 1.9}),
        ("isles22", {"connectivity": 2}),
        ("isles22", {"empty": math.nan}),
        ("isles24", {"matching": Matching("iou", threshold=0.2, assignment="greedy")}),
        ("autopet", {"connectivity": 3}),
        ("autopet", {"connectivity": 1}),
        ("valdo", {"matching": Matching("center_distance", threshold=5.0, assignment="greedy")}),
        ("valdo", {"matching": Matching("center_distance", threshold=4.9, assignment="first_choice")}),
        ("valdo", {"connectivity": 2}),
        ("msseg", {"connectivity": 2}),
        ("msseg", {"min_volume_mm3": 2.9}),
        ("msseg", {"coverage": Coverage(min_covered=0.05)}),
        ("msseg", {"coverage": Coverage(max_outside=0.65)}),
        ("msseg", {"coverage": Coverage(enough=0.9)}),
        ("bicc", {"matching": Matching("iou", threshold=0.1, assignment="greedy")}),
        ("bicc", {"connectivity": 2}),
        ("panoptica", {"matching": Matching("iou", threshold=0.51, assignment="greedy", inclusive=True)}),
        ("panoptica", {"thresholds": tuple(step / 10 for step in range(1, 10))}),
    ],
)
def test_the_cases_tell_a_rule_from_its_neighbours(name, rule, made):
    assert any(differences(name, made[0], **rule)), f"{rule} scores as {name} on all cases"


@pytest.mark.parametrize(("name", "other"), SAME.items())
def test_challenges_that_share_their_settings(name, other):
    ours, theirs = (get_preset(preset).resolved() for preset in (name, other))
    assert ours.pop("preset") == name
    assert theirs.pop("preset") == other
    assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_resolved_presets_are_json_and_name_their_source(name):
    resolved = json.loads(json.dumps(get_preset(name).resolved()))
    assert resolved["preset"] == name
    assert "github.com/" in resolved["source"] or "no public scorer" in resolved["source"]
    assert set(resolved["columns"]) == set(get_preset(name).columns)


def test_rows_and_averages_of_a_preset_with_regions():
    preset = get_preset("brats-gli", regions={"WT": (1, 2)})
    y = np.zeros((12, 12, 12), int)
    y[2:8, 2:8, 2:8] = 2
    rows = []
    # 216 voxels found as they are, and missed
    for case, y_pred in (("a", y), ("b", np.zeros_like(y))):
        rows += preset.rows(case, score_case(y_pred, y, spacing_mm=(1, 1, 1), preset=preset))
    assert [(row["case"], row["region"], row["Num_TP"]) for row in rows] == [("a", "WT", 1), ("b", "WT", 0)]
    (average,) = preset.averages(rows)
    assert (average["region"], average["cases"]) == ("WT", 2)
    # (0 + 374) / 2
    assert average["LesionWise_Score_HD95"] == 187.0
    assert average["Num_FN"] == 0.5


def test_averages_leave_nan_out_and_sum_what_is_pooled():
    preset = get_preset("bicc")
    lesion, nothing = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    lesion[1, 1, 1] = 1
    rows = [
        row
        for y_pred, y in ((lesion, lesion), (lesion, nothing), (nothing, nothing))
        for row in preset.rows("a", score_case(y_pred, y, spacing_mm=(1, 1, 1), preset=preset))
    ]
    (average,) = preset.averages(rows)
    assert (average["tp"], average["fp"], average["f1"]) == (1, 1, 1)
    # one false lesion in two scans without one
    assert average["false_positives_negative_scan"] == 0.5
    assert math.isnan(preset.averages([])[0]["f1"])


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("fets", {}, ValueError, "Expected `preset` to be one of .*'wmh'.* but got 'fets'"),
        (
            "wmh",
            {"connectivity": 1},
            ValueError,
            r"Expected options of the preset 'wmh', .* but got \['connectivity'\]",
        ),
        ("isles22", {"matching": "iou"}, TypeError, "Expected `matching` to be a Matching, but got str"),
        ("panoptica", {"thresholds": (0.5, 1.1)}, ValueError, r"`threshold` to be in \[0, 1\], but got 1.1"),
        ("msseg", {"coverage": 0.1}, TypeError, "Expected `coverage` to be a Coverage, but got float"),
        ("isles22", {"regions": {}}, TypeError, "Expected `regions` to be a mapping from names to labels, but got {}"),
        (
            "isles22",
            {"regions": {"a": (0, 1)}},
            ValueError,
            r"`regions` to hold labels above 0, but got \(0, 1\) for 'a'",
        ),
        (
            "autopet",
            {"min_volume_mm3": -1},
            ValueError,
            "Expected `min_volume_mm3` to be finite and 0 or more, but got -1",
        ),
        ("brats-gli", {"merge_steps": 1.5}, TypeError, "Expected `merge_steps` to be an integer, but got 1.5"),
    ],
)
def test_options_are_checked(name, options, error, message):
    with pytest.raises(error, match=message):
        get_preset(name, **options)
