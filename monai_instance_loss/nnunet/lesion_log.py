"""How many lesions were found, missed and made up in each epoch: a table and a plot beside nnU-Net's own."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_instance_loss._optional import import_extra
from monai_instance_loss._whole_file import whole_file

__all__ = ["COLUMNS", "log_epoch"]

Figure = import_extra("matplotlib.figure", "Figure")
MaxNLocator = import_extra("matplotlib.ticker", "MaxNLocator")
style = import_extra("matplotlib.style")

COLUMNS = ("lesion_f1", "found", "missed", "false")


def log_epoch(folder: Path, epoch: int, row: Mapping[str, float]) -> list[dict[str, str]]:
    """Add an epoch to ``progress_lesions.csv``, and draw ``progress_lesions.png``.

    Source: ours. Rows of this epoch and of later ones, which an earlier run left, are dropped, so that a training that
    continues from a checkpoint continues its table. Both files appear whole or not at all. Units: lesions, and none.

    Args:
        folder: output folder of the training.
        epoch: from 0.
        row: a number for each of ``COLUMNS``; NaN, where there was no lesion at all, is left empty.

    Returns:
        All rows of the table.

    Raises:
        OptionalImportError: matplotlib is not installed.

    Example:
        >>> import tempfile
        >>> row = {"lesion_f1": 0.5, "found": 3, "missed": 1, "false": 4}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = log_epoch(Path(folder), 0, row)
        ...     log_epoch(Path(folder), 1, row)[1]
        {'epoch': '1', 'lesion_f1': '0.5000', 'found': '3', 'missed': '1', 'false': '4'}
    """
    path = folder / "progress_lesions.csv"
    rows = [old for old in _read(path) if int(old["epoch"]) < epoch]
    score = row["lesion_f1"]
    numbers = {name: str(int(row[name])) for name in COLUMNS[1:]}
    rows.append({"epoch": str(epoch), "lesion_f1": "" if score != score else f"{score:.4f}", **numbers})
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("epoch", *COLUMNS))
        writer.writeheader()
        writer.writerows(rows)
    # nnU-Net's own plot leaves its large letters behind for every other
    with whole_file(folder / "progress_lesions.png") as temporary, style.context("default"):
        _draw(rows).savefig(temporary, format="png")
    return rows


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _draw(rows: list[dict[str, str]]) -> Any:
    figure = Figure(figsize=(8, 8), layout="constrained")
    score, counts = figure.subplots(2, 1, sharex=True)
    epochs = [int(row["epoch"]) for row in rows]
    score.plot(epochs, [float(row["lesion_f1"] or "nan") for row in rows], "g.-", label="lesion F1")
    score.set(ylabel="lesion F1", ylim=(0, 1), title="validation patches")
    for name, style in zip(COLUMNS[1:], ("g.-", "r.-", "b.--"), strict=True):
        counts.plot(epochs, [int(row[name]) for row in rows], style, label=name)
    counts.set(xlabel="epoch", ylabel="lesions")
    counts.xaxis.set_major_locator(MaxNLocator(integer=True))
    counts.set_ylim(bottom=0)
    counts.legend()
    return figure
