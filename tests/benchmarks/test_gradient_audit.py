"""The stored gradient audit is of all losses, and of the code as it is."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import gradient_audit as benchmark
import pytest

from monai_instance_loss.analysis import gradient_audit

STORED = Path(__file__).parent / "results" / "gradient_audit.csv"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_stored_table_holds_every_loss():
    losses = benchmark.audited()
    rows = read(STORED)
    assert list(dict.fromkeys(row["loss"] for row in rows)) == list(losses)
    # 3 situations, 7 sizes, 3 numbers of others, 3 backgrounds; of 1 voxel no half is found
    assert len(rows) == len(losses) * (3 * 7 - 1) * 3 * 3


@pytest.mark.parametrize("name", ["InstanceLoss", "ICILoss", "BlobLoss", "BiCCLoss", "DiceCELoss", "missed, counted"])
def test_the_stored_numbers_are_those_of_the_code(name):
    stored = {tuple(row.values())[1:5]: row for row in read(STORED) if row["loss"] == name}
    rows = gradient_audit(
        benchmark.audited()[name], size_voxels=(1, 1300), other_lesions=2, background_probability=0.01
    )
    assert len(rows) == 5
    for row in rows:
        found = stored[tuple(map(str, row[:4]))]
        assert float(found["gradient_l1"]) == pytest.approx(row.gradient_l1, rel=1e-3)
        assert found["direction"] == row.direction


def test_every_term_that_speaks_of_a_situation_helps():
    speaks_of = {"false": ("instance_pred", "false", "center"), "missed": ("instance", "missed", "center")}
    rows = [row for row in read(STORED) if row["other_lesions"] == "2" and row["background_probability"] == "0.01"]
    for situation, terms in speaks_of.items():
        for term in terms:
            of = [row for row in rows if row["loss"] == f"only {term}" and row["situation"] == situation]
            assert len(of) == 7
            assert {row["direction"] for row in of} == {"helps"}
            # every size alike
            assert len({row["gradient_l1"] for row in of}) == 1


def test_the_command_writes_a_table_and_three_figures(monkeypatch, tmp_path):
    losses = {name: loss for name, loss in benchmark.audited().items() if name in ("BlobLoss", "DiceLoss")}
    monkeypatch.setattr(benchmark, "audited", lambda: losses)
    monkeypatch.setattr(
        benchmark, "gradient_audit", lambda loss: gradient_audit(loss, size_voxels=(1, 9), spatial_size=(48, 48))
    )
    table, figure = tmp_path / "audit.csv", tmp_path / "audit.png"
    monkeypatch.setattr(sys, "argv", ["gradient_audit.py", "--out", str(table), "--figure", str(figure)])
    benchmark.main()
    assert [row["loss"] for row in read(table)] == ["BlobLoss"] * 45 + ["DiceLoss"] * 45
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "audit.csv",
        "audit.png",
        "audit_background_probability.png",
        "audit_other_lesions.png",
    ]
