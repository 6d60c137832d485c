"""The long tables of a report: every case, and every lesion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from heapq import nsmallest
from itertools import count
from typing import Any

from monai_instance_loss.evaluation.case import CaseScores
from monai_instance_loss.evaluation.report_tables import Table

__all__ = ["case_list", "lesion_list"]

# a page with more rows is slow to open
_MAX_ROWS = 2000

_CASE_COLUMNS = {
    "case": "Case", "label": "Class", "group": "Group", "model": "Model", "n_true": "Lesions", "n_missed": "Missed",
    "n_pred": "Predicted", "n_false": "False", "dice": "Dice", "h95_mm": "H95 (mm)", "avd_percent": "AVD (%)",
    "recall": "Recall", "precision": "Precision", "f1": "F1", "pq": "PQ", "volume_true_ml": "Volume (ml)",
    "volume_pred_ml": "Predicted volume (ml)", "ignored_ml": "Not scored (ml)",
}  # fmt: skip
_LESION_COLUMNS = {
    "case": "Case", "label": "Class", "model": "Model", "side": "Side", "id": "Lesion", "status": "Status",
    "volume_mm3": "Volume (mm³)", "voxels": "Voxels", "centroid_mm_x": "Right (mm)", "centroid_mm_y": "Anterior (mm)",
    "centroid_mm_z": "Superior (mm)", "partners": "Matches", "overlap_voxels": "Shared voxels",
}  # fmt: skip
_ERRORS = ("missed", "false")


def case_list(scores: Iterable[CaseScores]) -> Table:
    """A row a case and model, sortable; those without a lesion in the reference have 0 lesions and no recall.

    Of more than 2000 rows the ones with most missed and false lesions are shown.

    Example:
        >>> case_list([]).title
        'Cases (0)'
    """
    rows = [asdict(case) for case in scores]
    worst = sorted(rows, key=lambda row: -row["n_missed"] - row["n_false"])
    kept = rows if len(rows) <= _MAX_ROWS else worst[:_MAX_ROWS]
    return _list("Cases", len(rows), kept, _CASE_COLUMNS, "most missed and false lesions; all are in cases.csv")


def lesion_list(lesions: Iterable[Mapping[str, Any]]) -> Table:
    """A row a lesion of either side, missed and false ones first, sortable.

    Of more than 2000 rows the first are shown, larger lesions before smaller ones.

    Args:
        lesions: rows of ``score_masks``.

    Example:
        >>> lesion_list([]).title
        'Lesions (0)'
    """
    total = count()
    # only so many are held in memory
    counted = (row for row, _ in zip(lesions, total, strict=False))
    kept = nsmallest(_MAX_ROWS, counted, key=lambda row: (row["status"] not in _ERRORS, -row["volume_mm3"]))
    return _list("Lesions", next(total), kept, _LESION_COLUMNS, "missed and false ones first; all are in lesions.csv")


def _list(title: str, total: int, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], rest: str) -> Table:
    # a column that no row fills, such as the class of binary masks, is left out
    columns = [key for key in names if any(row.get(key, "") != "" for row in rows)] or ["case"]
    shown = f"{len(rows)} of {total}, {rest}" if len(rows) < total else str(total)
    return Table(
        f"{title} ({shown})",
        [names[key] for key in columns],
        [[_cell(row.get(key, "")) for key in columns] for row in rows],
        sortable=True,
    )


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.4g}"
