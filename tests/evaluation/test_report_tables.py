from __future__ import annotations

import numpy as np

from monai_instance_loss.evaluation.case import CaseResult
from monai_instance_loss.evaluation.report_tables import (
    comparison_table,
    froc_table,
    pooled_table,
    score_table,
    size_table,
)
from monai_instance_loss.evaluation.summary import compare_models, froc_of, masks_point, summarise_model


def lesion(case: str, side: str, volume: float, status: str, partners: str = "") -> dict:
    return {"case": case, "side": side, "volume_mm3": volume, "status": status, "partners": partners}


def model(scores, n: int, **values) -> dict:
    return summarise_model([scores(str(k), n_true=1, **values) for k in range(n)], [], (10.0,))


def test_twelve_of_twelve_are_no_certainty(scores):
    models = {"net": model(scores, 12, recall=1.0, n_pred=1)}
    rows = {row[0]: row[1] for row in score_table(models).rows}
    assert rows["Lesion recall, higher is better"] == "1.000 [all cases alike], n = 12"
    # 0.025^(1/12) = 0.735
    assert pooled_table(models).rows[0][3:5] == ["1.000 [0.735, 1.000]", "[all cases alike]"]


def test_three_cases_have_no_interval(scores):
    rows = [row[1] for row in score_table({"net": model(scores, 3)}).rows]
    assert rows[0] == "0.500 [n < 10], n = 3"
    assert not any("," in row.split("]")[0] for row in rows)


def test_scores_on_unlike_cases_are_marked(scores):
    few, many = model(scores, 11), model(scores, 12)
    assert {row[0][-1] for row in score_table({"few": few, "many": many}).rows} == {"*"}
    assert "not of the same cases" in score_table({"few": few, "many": many}).note
    assert score_table({"a": few, "b": few}).note == ""


def test_comparison_shows_both_means(scores):
    first = [scores(str(k), n_true=1, dice=0.5 + k / 100) for k in range(12)]
    second = [scores(str(k), n_true=1, dice=0.6 + k / 50) for k in range(12)]
    table = comparison_table({"model": "new", "against": "old", **compare_models(first, second)})
    dice = table.rows[0]
    # the mean of k is 5.5: 0.6 + 0.11, 0.5 + 0.055, and all twelve differ the same way: p = 2 / 2^12
    assert dice[:3] == ["Dice", "0.710", "0.555"]
    assert dice[3].startswith("+0.155 [+0.1")
    assert dice[4:] == ["< 0.001", "12"]
    assert table.columns[1:3] == ["new", "old"]


def test_no_p_value_where_none_can_be_small(scores):
    for n, shown in ((5, "[n < 6]"), (6, "0.031")):  # 2 / 2^6
        first, second = ([scores(str(k), n_true=1, dice=dice + k / 50) for k in range(n)] for dice in (0.2, 0.5))
        table = comparison_table({"model": "a", "against": "b", **compare_models(first, second)})
        assert table.rows[0][4] == shown


def test_merges_splits_and_sizes(scores):
    lesions = [
        lesion("a", "reference", 5, "detected", "1"), lesion("a", "reference", 5, "detected", "1"),
        lesion("a", "reference", 50, "missed"), lesion("a", "reference", 70, "detected", "2 3"),
        lesion("a", "prediction", 12, "matched", "1 2"), lesion("a", "prediction", 30, "matched", "4"),
        lesion("a", "prediction", 30, "matched", "4"), lesion("a", "prediction", 4, "false"),
    ]  # fmt: skip
    summary = summarise_model([scores("a", n_true=4, n_missed=1, n_pred=4, n_false=1)], lesions, (10.0,))
    assert pooled_table({"net": summary}).rows[0][-2:] == ["1 over 2 lesions", "1 into 2 pieces"]
    small, large = size_table("net", summary).rows
    assert (small[0], small[1], small[4], small[5]) == ("below 10", "2 of 2", "1 of 1", "1.00")
    assert (large[0], large[1], large[4], large[5]) == ("10 or more", "1 of 2", "0 of 3", "0.00")


def test_froc_operating_points():
    rows = np.array([[0, 0, 0, 0], [1, 0, 0, 0.25], *[[2, 0, 0, 0.9]] * 2, [2, 0, 0, 0.25]], np.float32)
    table = froc_table(froc_of([CaseResult("a", froc=rows)]))
    values = {row[0]: row[1:] for row in table.rows}
    # from (0, 0) to (2, 0), and from there to (3, 1)
    assert values["1"] == ["0.000", "-", "0", "0.000"]
    assert values["2"] == ["0.000", "0.9", "2", "0.000"]
    assert values["4"] == ["1.000", "0.25", "3", "1.000"]
    assert len(values) == 7
    # the masks of a model with 3 false lesions in that case, and one of two found
    masks = masks_point({"cases": 1, "lesions": {"n_false": 3, "sensitivity": {"value": 0.5}}}, {"cases": 1})
    last = froc_table(froc_of([CaseResult("a", froc=rows)]), masks).rows[-1]
    assert last == ["3, the masks that were scored", "0.500", "-", "-", "-"]
    assert masks_point({"cases": 1}, {"cases": 2}) is None


def test_nothing_is_a_dash():
    empty = summarise_model([], [], (10.0,))
    for table in (score_table({"net": empty}), pooled_table({"net": empty}), size_table("net", empty)):
        assert "nan" not in str(table.rows)
