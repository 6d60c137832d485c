"""The speed suite runs from end to end, and its tables and its figure are made from what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cases
import goals
import loss_speed
import pytest
import tables
import timing
import torch

BENCHMARKS = Path(__file__).parent


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# a run takes most of a minute, and so do the tests that ask for one
@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("speed") / "speed.json"
    return run("speed.py", "--quick", "--out", out), out


@pytest.fixture(scope="module")
def result(written):
    return json.loads(written[1].read_text())


@pytest.mark.slow
def test_every_section_is_there_and_nothing_failed(result):
    assert {"what", "command", "machine", "seed", "repeats"} <= {*result}
    assert {"labelling", "losses", "memory", "step", "goals"} <= {*result}
    assert result["errors"] == {}
    measured = [case for name in ("losses", "memory", "step") for case in result[name]]
    rows = [row for case in result["labelling"] for row in case["methods"].values()]
    rows += [row for case in measured for row in case["losses"].values()]
    assert not [row for row in rows if "error" in row]
    assert len(result["labelling"]) == 3 * 7
    assert len(result["losses"]) == 2 * 7 + 2


@pytest.mark.slow
def test_a_row_has_its_spread(result):
    row = result["losses"][0]["losses"]["InstanceLoss"]
    for key in ("forward_ms", "total_ms", "over_dicece", "over_instance_loss"):
        assert 0 < row[key]["p10"] <= row[key]["median"], key
    assert row["forward_ms"]["median"] < row["total_ms"]["median"]
    assert row["over_instance_loss"]["median"] == 1


@pytest.mark.slow
def test_what_takes_minutes_is_run_once(result):
    slow = [
        case["losses"][loss_speed.LOOPED]["repeats"] for case in result["losses"] if loss_speed.LOOPED in case["losses"]
    ]
    assert slow == [1, 1]


@pytest.mark.slow
def test_tables_show_what_was_measured(written, result):
    for table in tables.SPEED_TABLES:
        text = table(result)
        assert text in written[0]
        header, *rows = text.splitlines()
        assert len({line.count("|") for line in (header, *rows)}) == 1
        assert len(rows) > 1
    by_name = {line.split(" | ")[0].strip("| "): line for line in tables.speed_table(result).splitlines()}
    assert by_name["DiceCELoss (MONAI)"].count(" 1.0 ") == 7
    assert all(table({}) for table in tables.SPEED_TABLES)


@pytest.mark.slow
def test_figure_is_written(written, tmp_path):
    run("plots.py", written[1], "--out", tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_goals_say_whether_they_hold():

    def case(name, **ratios):
        losses = {goals.OURS: {"over_dicece": {"median": ratios["over"]}}}
        return {"size": "medium", "case": name, "losses": losses}

    measured = {
        "losses": [case("60 lesions", over=0.9), case("600 lesions", over=1.8)],
        "classes": [
            {"moment": "2 % noise", "time": {"median": 2.5}, "memory": 1.5},
            {"moment": "2 % noise", "time": {"median": 3.5}},
        ],
        "memory": [{"case": "60 lesions", "losses": {goals.OURS: {"peak_maps": 3.5}}}],
    }
    rows = {row["name"]: row for row in goals.goals(measured)}
    assert rows["InstanceLoss over DiceCELoss (MONAI)"] == {
        "name": "InstanceLoss over DiceCELoss (MONAI)",
        "value": 0.9,
        "goal": "<= 1.0",
        "holds": True,
    }
    assert rows["InstanceLoss over DiceCELoss (MONAI), 600 lesions"]["holds"] is False
    # the slowest number of classes counts, and the largest of those whose memory was measured
    slowest, largest = (rows[name] for name in rows if name.endswith("2 % noise"))
    assert (slowest["value"], slowest["holds"]) == (3.5, False)
    assert (largest["value"], largest["holds"]) == (1.5, True)
    growth = rows["InstanceLoss, 600 lesions over 60"]
    assert (growth["value"], growth["holds"]) == (2.0, False)
    assert rows["InstanceLoss, peak extra memory in maps, 60 lesions"]["holds"] is True
    # not measured: neither held nor missed
    assert rows["InstanceLoss, peak extra memory in maps, 600 lesions"]["holds"] is None
    assert goals.goals({})


def test_a_contender_that_fails_is_noted_and_left_out():
    calls = []

    def works():
        calls.append("works")

    def fails():
        calls.append("fails")
        raise MemoryError("too large")

    samples = timing.interleaved({"a": works, "b": fails}, 3, torch.device("cpu"), {"a": 2}, warm_up=1)
    # three rounds of `a`, the first of which is not counted
    assert calls == ["works", "fails", "works", "works"]
    assert len(samples["a"].total) == 2
    assert samples["b"].error == "MemoryError: too large"


def test_ratios_are_of_the_same_round():
    assert timing.over([2.0, 9.0, 8.0], [1.0, 3.0, 2.0, 50.0]) == {"median": 3.0, "p10": 2.0, "p90": 3.0}


def test_cases_hold_what_they_say():
    found = {}
    for case in cases.cases("medium", cases.NAMES, quick=True, seed=0):
        found[case.name] = cases.Batch(case, torch.device("cpu")).describe()
    assert found["background"]["components"] == found["background"]["predicted_components"] == 0
    assert found["0 lesions"]["components"] == 0
    assert found["0 lesions"]["predicted_components"] > 0
    # two samples of 7 x 7 x 7 cells, each with a ball of its own
    assert found["5000 lesions"]["components"] == 2 * 7**3
    assert found["noise 30 %"]["predicted_foreground"] == pytest.approx(0.3, abs=0.01)
    assert 40 <= found["60 lesions"]["components"] <= 60
