"""The evaluation from folders to files: pair, score, summarise, draw, write."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from monai_instance_loss._versions import installed_versions
from monai_instance_loss.evaluation.case import CaseResult, CaseScores
from monai_instance_loss.evaluation.drawing import chart_drawings, key_drawings
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure, pair_files
from monai_instance_loss.evaluation.report import render_report
from monai_instance_loss.evaluation.running import Ranks, available_workers, joined_ranks, run_cases
from monai_instance_loss.evaluation.statistics import LEVEL, RESAMPLES
from monai_instance_loss.evaluation.summary import compare_models, froc_of, summarise_model
from monai_instance_loss.evaluation.tables import check_writable, printable, to_csv, to_json, write_files
from monai_instance_loss.metrics.strata import checked_edges
from monai_instance_loss.operating_points import OperatingPoint

__all__ = ["Options", "evaluate"]

_LESION_COLUMNS = (
    "model", "case", "side", "id", "status", "voxels", "volume_mm3",
    "centroid_mm_x", "centroid_mm_y", "centroid_mm_z",
    "box_start_0", "box_start_1", "box_start_2", "box_stop_0", "box_stop_1", "box_stop_2",
    "partners", "overlap_voxels",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What to evaluate and how; ``python -m monai_instance_loss evaluate --help`` says more on each.

    Attributes:
        reference_dir: folder of the reference.
        models: folder of each model by its name; the others are compared with the first.
        out_dir: folder of the results.
        image_dir: folder of scans.
        probability_dir: folder of probability maps of the first model.
        operating_point: where it is given, the folder of the first model holds probability maps, from which its masks
            are made.
        ignore_label: value in the reference of voxels that are not scored.
        edges_mm3: lesion volumes between strata.
        workers: number of processes, None for one a core.
        seed: of the bootstrap.
        command: the command line, to be written down.
    """

    reference_dir: Path
    models: Mapping[str, Path]
    out_dir: Path
    image_dir: Path | None = None
    probability_dir: Path | None = None
    operating_point: OperatingPoint | None = None
    ignore_label: int | None = None
    edges_mm3: Sequence[float] = (10.0, 30.0, 100.0, 300.0, 1000.0)
    workers: int | None = None
    seed: int = 0
    command: str = ""


def evaluate(options: Options) -> int:
    """Score all pairs and write ``cases.csv``, ``lesions.csv``, ``summary.json`` and ``report.html``.

    Source: ours. Under ``torchrun`` each rank scores its part, and rank 0 writes.

    Returns:
        0 where all pairs were scored and all figures drawn, 1 where some were not, which only rank 0 says. Where no
        pair was scored, nothing is written.

    Raises:
        OSError: a folder is missing or cannot be written to.
        ValueError: the folders do not fit, or an option is out of range.

    Example:
        >>> evaluate(Options(Path("nowhere"), {"net": Path("nowhere")}, Path("/dev/null/out")))
        Traceback (most recent call last):
        FileNotFoundError: Expected an existing folder, but got nowhere.
    """
    with joined_ranks() as ranks:
        cases, unpaired = _prepare(options, ranks)
        workers = options.workers or available_workers()
        own = run_cases(ranks.own(cases), options.ignore_label, workers, progress=ranks.rank == 0)
        results = ranks.gather(own)
    if ranks.rank != 0:
        # torchrun would stop rank 0 at its work if another one ended with an error
        return 0
    failures = unpaired + [failure for result in results for failure in result.failures]
    _tell_problems(failures, results)
    if not any(result.scores for result in results):
        print(f"error: no pair could be scored; nothing was written to {options.out_dir}.", file=sys.stderr)
        return 1
    all_drawn = _write(options, cases, results, failures)
    return int(bool(failures) or not all_drawn)


def _prepare(options: Options, ranks: Ranks) -> tuple[list[CaseFiles], list[Failure]]:
    """Checks and pairs of rank 0, for all ranks; an error ends all of them, and rank 0 says which."""
    outcome: Any = None
    if ranks.rank == 0:
        try:
            checked_edges(options.edges_mm3)
            paired = _paired(options)
            check_writable(options.out_dir)
            outcome = paired
        except (OSError, ValueError) as error:
            outcome = error
    outcome = ranks.share(outcome)
    if isinstance(outcome, Exception):
        raise outcome if ranks.rank == 0 else SystemExit(2)
    cases, failures = outcome
    return cases, failures


def _paired(options: Options) -> tuple[list[CaseFiles], list[Failure]]:
    point, first = options.operating_point, next(iter(options.models))
    maps = options.probability_dir if point is None else None
    cases, failures = pair_files(options.reference_dir, options.models, maps, options.image_dir)
    if point is not None:
        cases = [replace(case, probability=case.predictions.get(first), points={first: point}) for case in cases]
    return cases, failures


def _tell_problems(failures: Sequence[Failure], results: Sequence[CaseResult]) -> None:
    for remark in _remarks(results):
        print(f"warning: {remark}", file=sys.stderr)
    for failure in failures:
        model = f" ({failure.model})" if failure.model else ""
        print(f"NOT SCORED {failure.case}{model}: {failure.message}", file=sys.stderr)


def _remarks(results: Sequence[CaseResult]) -> list[str]:
    return [remark for result in results for remark in result.remarks]


def _write(
    options: Options, cases: Sequence[CaseFiles], results: Sequence[CaseResult], failures: Sequence[Failure]
) -> bool:
    """Write all files, and say whether every figure could be drawn."""
    scores = {
        model: [row for result in results for row in result.scores if row.model == model] for model in options.models
    }
    lesions = [row for result in results for row in result.lesions]
    summary = _summary(options, len(cases), results, scores, lesions, failures)
    first = next(iter(options.models))
    files = {case.case: case for case in cases}
    drawings = (
        list(chart_drawings(scores, summary)),
        list(key_drawings(first, scores[first], files, options.ignore_label)),
    )
    # numbers first: no figure can cost them
    write_files(
        options.out_dir,
        {
            "cases.csv": to_csv(
                [column.name for column in fields(CaseScores)],
                (asdict(row) for result in results for row in result.scores),
            ),
            "lesions.csv": to_csv(_LESION_COLUMNS, lesions),
            "summary.json": to_json(summary),
            "report.html": render_report(summary, *([drawing.blank for drawing in part] for part in drawings)),
        },
    )
    charts, key_images = ([drawing.drawn() for drawing in part] for part in drawings)
    write_files(options.out_dir, {"report.html": render_report(summary, charts, key_images)})
    _tell_results(options, summary)
    undrawn = [picture for picture in charts + key_images if picture.png is None]
    for picture in undrawn:
        print(f"NOT DRAWN {picture.alt}: {picture.error}", file=sys.stderr)
    return not undrawn


def _tell_results(options: Options, summary: Mapping[str, Any]) -> None:
    lines = [
        f"{name}: {model['cases']} cases, Dice {model['scores']['dice']['mean']:.3f}, "
        f"lesion F1 {model['scores']['f1']['mean']:.3f}"
        for name, model in summary["models"].items()
    ]
    lines.append(f"wrote {options.out_dir}/report.html, cases.csv, lesions.csv and summary.json")
    print(printable("\n".join(lines), sys.stdout.encoding or "utf-8"))


def _summary(
    options: Options,
    n_cases: int,
    results: Sequence[CaseResult],
    scores: Mapping[str, Sequence[CaseScores]],
    lesions: Sequence[Mapping[str, Any]],
    failures: Sequence[Failure],
) -> dict[str, Any]:
    first, *others = options.models
    return {
        "command": options.command,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": installed_versions(),
        "settings": {
            "ignore_label": options.ignore_label,
            "operating_point": None if options.operating_point is None else asdict(options.operating_point),
            "seed": options.seed,
            "bootstrap_resamples": RESAMPLES,
            "interval_level": LEVEL,
            "strata_mm3": list(options.edges_mm3),
            "connectivity": "faces, edges and corners (26 neighbours)",
        },
        "pairs": {
            "cases": n_cases,
            "scored": {model: len(rows) for model, rows in scores.items()},
            "failed": len(failures),
        },
        "failures": [asdict(failure) for failure in failures],
        "warnings": _remarks(results),
        "models": {
            model: summarise_model(
                rows, (row for row in lesions if row["model"] == model), options.edges_mm3, options.seed
            )
            for model, rows in scores.items()
        },
        "froc": froc_of(results),
        "comparisons": [
            {"model": other, "against": first, **compare_models(scores[first], scores[other], options.seed)}
            for other in others
        ],
    }
