"""An operating point from folders: pair, count, choose, write."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from monai_instance_loss._optional import import_extra
from monai_instance_loss.evaluation.header import check_same_grid, read_header
from monai_instance_loss.evaluation.loading import Volume, read_mask, read_probability
from monai_instance_loss.evaluation.pairing import CaseFiles, pair_files
from monai_instance_loss.evaluation.tables import check_writable, printable
from monai_instance_loss.metrics.matching import Matching
from monai_instance_loss.operating_points import OperatingPoint, choose_operating_point, conformal_operating_point
from monai_instance_loss.operating_points.conformal import check_alpha

__all__ = ["TuneOptions", "tune"]

tqdm = import_extra("tqdm", "tqdm")

_MODEL = "prob"
_IGNORED = 2


@dataclass(frozen=True)
class TuneOptions:
    """What to choose and by what; ``python -m monai_instance_loss tune --help`` says more on each.

    Attributes:
        probability_dir: folder of probability maps.
        reference_dir: folder of the reference.
        out: the JSON file to write; its folder exists.
        budget_false: most false lesions a case.
        budget_missed: most missed lesions a case.
        alpha: part of lesions that a new case may miss in expectation.
        matching: when a prediction matches a lesion; None is the default of the objective.
        thresholds: to choose from; None is the default of the objective.
        min_volumes_mm3: smallest volumes to choose from, likewise; with ``alpha`` one at most.
        high_thresholds: for hysteresis.
        ignore_label: value in the reference of voxels that are not scored.
        command: the command line, to be written down.
    """

    probability_dir: Path
    reference_dir: Path
    out: Path
    budget_false: float | None = None
    budget_missed: float | None = None
    alpha: float | None = None
    matching: Matching | None = None
    thresholds: Sequence[float] | None = None
    min_volumes_mm3: Sequence[float] | None = None
    high_thresholds: Sequence[float] = ()
    ignore_label: int | None = None
    command: str = ""


def tune(options: TuneOptions) -> OperatingPoint:
    """Choose an operating point by all cases that have a probability map and a reference, and write it as JSON.

    Source: ``choose_operating_point`` and, with ``alpha``, ``conformal_operating_point``. What has no partner is told
    on standard error, and left out; a file that cannot be used is an error, as the rest would choose another point.

    Returns:
        The point; ``chosen`` also tells the names of the cases, the command and the date.

    Raises:
        OSError: a folder is missing or cannot be written to.
        ValueError: the folders have fewer than two cases in common, a file is not what it should be, or an option is
            out of range or cannot be met; nothing is written.

    Example:
        >>> tune(TuneOptions(Path("nowhere"), Path("nowhere"), Path("point.json")))
        Traceback (most recent call last):
        FileNotFoundError: Expected an existing folder, but got nowhere.
    """
    if options.out.is_dir() or not options.out.resolve().parent.is_dir():
        raise OSError(f"Expected `out` to be a file in an existing folder, but got {options.out}.")
    cases = _paired(options)
    check_writable(options.out.resolve().parent)
    if options.alpha is not None:
        check_alpha(options.alpha, len(cases))
    _check_headers(cases)
    point = _choose(options, _volumes(cases, options.ignore_label, len(cases)))
    chosen = {
        **point.chosen,
        "names": [case.case for case in cases],
        "command": options.command,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    point = replace(point, chosen=chosen)
    point.save(options.out)
    _tell(point, options.out)
    return point


def _paired(options: TuneOptions) -> list[CaseFiles]:
    """The cases that have both files; the others are told."""
    found, failures = pair_files(options.reference_dir, {_MODEL: options.probability_dir})
    cases = [case for case in found if case.predictions]
    for failure in failures:
        print(f"NOT USED {failure.case}: {failure.message}", file=sys.stderr)
    if len(cases) < 2:
        names = ", ".join(case.case for case in cases) or "none"
        raise ValueError(
            f"Expected {options.probability_dir} and {options.reference_dir} to have two cases or more in common, but "
            f"got {names}."
        )
    return cases


def _check_headers(cases: Iterable[CaseFiles]) -> None:
    """All headers before any voxel, so that a wrong grid costs no time."""
    for case in cases:
        reference, probability = read_header(case.reference), read_header(case.predictions[_MODEL])
        check_same_grid(reference, probability)
        for remark in filter(None, (reference.remark, probability.remark)):
            print(f"warning: {remark}", file=sys.stderr)


def _volumes(
    cases: Iterable[CaseFiles], ignore_label: int | None, count: int
) -> Iterator[tuple[MetaTensor, MetaTensor]]:
    """Probabilities and reference of each case, read when it is their turn; a bar on terminals."""
    for case in tqdm(cases, total=count, desc="Cases", unit="case", disable=None):
        yield _tensor(read_probability(case.predictions[_MODEL])), _tensor(read_mask(case.reference, ignore_label))


def _tensor(volume: Volume) -> MetaTensor:
    voxels = torch.from_numpy(np.ascontiguousarray(volume.voxels))
    return MetaTensor(voxels[None], affine=torch.from_numpy(volume.affine))


def _choose(options: TuneOptions, cases: Iterable[tuple[MetaTensor, MetaTensor]]) -> OperatingPoint:
    given: dict[str, Any] = {
        "matching": options.matching,
        "ignore_index": None if options.ignore_label is None else _IGNORED,
    }
    if options.thresholds is not None:
        given["thresholds"] = tuple(options.thresholds)
    volumes = options.min_volumes_mm3
    if options.alpha is None:
        if volumes is not None:
            given["min_volumes_mm3"] = tuple(volumes)
        given["high_thresholds"] = tuple(options.high_thresholds)
        return choose_operating_point(
            cases, budget_false=options.budget_false, budget_missed=options.budget_missed, **given
        )
    highs = tuple(options.high_thresholds)
    if highs:
        raise ValueError(f"Expected `high_thresholds` to be none with `alpha`, but got {highs}.")
    if volumes is not None:
        if len(volumes) != 1:
            raise ValueError(f"Expected `min_volumes_mm3` to be one number with `alpha`, but got {tuple(volumes)}.")
        given["min_volume_mm3"] = volumes[0]
    return conformal_operating_point(cases, options.alpha, **given)


def _tell(point: OperatingPoint, out: Path) -> None:
    high = "" if point.high_threshold is None else f", high threshold {point.high_threshold:g}"
    lines = [f"threshold {point.threshold:g}{high}, smallest lesion {point.min_volume_mm3:g} mm3"]
    for name in ("in_sample", "leave_one_out"):
        if name in point.chosen:
            scores = ((key, value) for key, value in point.chosen[name].items() if value is not None)
            told = ", ".join(f"{key} {value:.3f}" for key, value in scores)
            lines.append(f"{name.replace('_', ' ')} ({point.chosen['cases']} cases): {told}")
    if "alpha" in point.chosen:
        lines.append(f"a new case misses {point.chosen['alpha']:g} of its lesions or less in expectation")
    lines.append(f"wrote {out}")
    print(printable("\n".join(lines), sys.stdout.encoding or "utf-8"))
