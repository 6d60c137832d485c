from __future__ import annotations

import math

from monai_instance_loss.evaluation import report_lists
from monai_instance_loss.evaluation.report_lists import case_list, lesion_list


def lesion(identity: int, status: str, volume: float) -> dict:
    return {
        "model": "net", "case": "a", "side": "reference", "id": identity, "status": status, "voxels": 2,
        "volume_mm3": volume, "centroid_mm_x": 1.0, "centroid_mm_y": -2.5, "centroid_mm_z": 1 / 3,
        "box_start_0": 0, "partners": "1 2", "overlap_voxels": 1,
    }  # fmt: skip


def test_cases_with_units_and_without_empty_columns(scores):
    table = case_list([scores("a", dice=0.25, n_true=3, n_missed=1), scores("b", recall=math.nan)])
    assert table.sortable
    assert "Class" not in table.columns
    first, second = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (first["Case"], first["Lesions"], first["Missed"], first["Dice"], first["H95 (mm)"]) == (
        "a", "3", "1", "0.25", "1",
    )  # fmt: skip
    assert (second["Lesions"], second["Recall"]) == ("0", "-")


def test_lesions_begin_with_the_errors():
    table = lesion_list([lesion(1, "detected", 9.0), lesion(2, "missed", 4.0), lesion(3, "false", 5.0)])
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["Lesion"], row["Status"]) for row in rows] == [("3", "false"), ("2", "missed"), ("1", "detected")]
    assert (rows[1]["Volume (mm³)"], rows[1]["Superior (mm)"], rows[1]["Matches"]) == ("4", "0.3333", "1 2")


def test_a_long_list_says_what_it_left_out(scores, monkeypatch):
    monkeypatch.setattr(report_lists, "_MAX_ROWS", 2)
    table = lesion_list([lesion(k, "missed" if k == 2 else "detected", 5.0 + k) for k in range(4)])
    assert table.title == "Lesions (2 of 4, missed and false ones first; all are in lesions.csv)"
    assert [row[table.columns.index("Lesion")] for row in table.rows] == ["2", "3"]
    table = case_list([scores(str(k), n_false=k % 3) for k in range(4)])
    assert [row[0] for row in table.rows] == ["2", "1"]
