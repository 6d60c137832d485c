"""The files of an evaluation."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from monai_instance_loss.evaluation.case import CaseScores
from monai_instance_loss.evaluation.case_log import LOG, CaseLog
from monai_instance_loss.evaluation.drawing import chart_drawings, key_drawings
from monai_instance_loss.evaluation.pairing import CaseFiles
from monai_instance_loss.evaluation.report import render_report
from monai_instance_loss.evaluation.report_lists import case_list, lesion_list
from monai_instance_loss.evaluation.results import Results, for_report
from monai_instance_loss.evaluation.scoring import Scoring
from monai_instance_loss.evaluation.tables import csv_lines, printable, to_json, write_files

__all__ = ["write_results"]

_LESION_COLUMNS = (
    "model", "case", "label", "side", "id", "status", "voxels", "volume_mm3",
    "centroid_mm_x", "centroid_mm_y", "centroid_mm_z",
    "box_start_0", "box_start_1", "box_start_2", "box_stop_0", "box_stop_1", "box_stop_2",
    "partners", "overlap_voxels",
)  # fmt: skip


def write_results(
    log: CaseLog, cases: Sequence[CaseFiles], results: Results, summary: Mapping[str, Any], scoring: Scoring
) -> bool:
    """Write all files, tell the scores, and say whether every figure could be drawn.

    Args:
        log: with a line of each case that was scored; the files go to its folder.
        cases: in the order of the rows.
        results: of all cases.
        summary: of them.
        scoring: what was scored, and how.

    Raises:
        OSError: a file cannot be written; those that were there are left as they were.
    """
    page = for_report(summary)
    files = {case.case: case for case in cases}
    charts_of = {
        f"{model}, {label}" if "labels" in summary else model: rows for (model, label), rows in results.scores.items()
    }
    first = results.models[0]
    drawings = (
        list(chart_drawings(charts_of, page)),
        [
            drawing
            for label in results.labels
            for drawing in key_drawings(first, results.scores[first, label], files, scoring)
        ],
    )
    names = list(files)
    # the report lists no more than some of them, and the rest is never held in memory
    lists = {
        "Cases": [case_list(row for result in log.results(names) for row in result.scores)],
        "Lesions": [lesion_list(row for result in log.results(names) for row in result.lesions)],
    }
    blanks = [[drawing.blank for drawing in part] for part in drawings]
    # numbers first: no figure can cost them
    write_files(
        log.folder,
        {
            "cases.csv": csv_lines(
                [column.name for column in fields(CaseScores)],
                (asdict(row) for result in log.results(names) for row in result.scores),
            ),
            "lesions.csv": csv_lines(_LESION_COLUMNS, (row for result in log.results(names) for row in result.lesions)),
            "summary.json": to_json(summary),
            LOG: (line.decode("ascii") for line in log.lines(names)),
            "report.html": render_report(page, *blanks, sections=lists),
        },
    )
    charts, key_images = ([drawing.drawn() for drawing in part] for part in drawings)
    write_files(log.folder, {"report.html": render_report(page, charts, key_images, sections=lists)})
    _tell(log.folder, summary, page)
    undrawn = [picture for picture in charts + key_images if picture.png is None]
    for picture in undrawn:
        print(f"NOT DRAWN {picture.alt}: {picture.error}", file=sys.stderr)
    return not undrawn


def _tell(folder: Path, summary: Mapping[str, Any], page: Mapping[str, Any]) -> None:
    total = summary["pairs"]["cases"]
    lines = []
    for name, model in page["models"].items():
        cases = f"{model['cases']} cases" if model["cases"] == total else f"{model['cases']} of {total} cases"
        dice, f1 = (model["scores"][score]["mean"] for score in ("dice", "f1"))
        lines.append(f"{name}: {cases}, Dice {dice:.3f}, lesion F1 {f1:.3f}")
    for name, mean in summary.get("mean_over_labels", {}).items():
        lines.append(f"{name}, mean of the labels: Dice {mean['dice']:.3f}, lesion F1 {mean['f1']:.3f}")
    lines.append(f"wrote {folder}/report.html, cases.csv, cases.jsonl, lesions.csv and summary.json")
    print(printable("\n".join(lines), sys.stdout.encoding or "utf-8"))
