"""The command line of operating points."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from monai_instance_loss.evaluation.argument_types import ignore_label

__all__ = ["add_tune", "run_tune"]

_DESCRIPTION = """\
Choose an operating point (threshold, smallest lesion, hysteresis) by probability maps of validation cases (NIfTI):
the one with the best lesion F1, the most sensitive one within a budget of false lesions a case, the one with the fewest
false lesions within a budget of missed ones, or the one with a guaranteed share of lesions that are found."""

_DETAILS = """\
how files are paired, and what masks may hold:
  as in `evaluate` (see its --help). A reference or map without a partner is told and left out; any other fault of a
  file is an error.

how lesions are matched (--matching):
  iou    one-to-one, intersection over union above 0.1, as many pairs as possible; the default
  touch  a shared voxel is enough, as in the WMH Challenge. It rewards masks that run lesions together: prefer iou to
         choose by. With --alpha it is the only rule, as a lower threshold then never loses a lesion.

--alpha A is conformal risk control (Angelopoulos et al., ICLR 2024): the largest threshold at which new cases miss, in
expectation, at most the part A of their lesions, if they are exchangeable with those given here (same scanners and
patients, none used in training). N cases can vouch for A of 1 / (N + 1) or more.

what is written:
  one JSON file, whole or not at all: the point, and how it was chosen, with the scores of the cases it was chosen by
  (in_sample), and of each case at the point that is chosen without it (leave_one_out), which is what to expect.
  It is taken by `evaluate --operating-point`, by the transform InstanceOperatingPointd, and by the bundle's inference.

exit code: 0 the point was written; 2 it was not."""


def add_tune(commands: Any) -> None:
    """Add the command to those of ``python -m monai_instance_loss``.

    Args:
        commands: what ``argparse.ArgumentParser.add_subparsers`` returned.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> add_tune(parser.add_subparsers())
        >>> parser.parse_args(["tune", "--prob", "a", "--ref", "b", "--out", "c.json", "--alpha", "0.1"]).alpha
        0.1
    """
    parser = commands.add_parser(
        "tune",
        help="choose a threshold and a smallest lesion on validation cases",
        description=_DESCRIPTION,
        epilog=_DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--prob", required=True, type=Path, metavar="DIR", help="probability maps")
    add("--ref", required=True, type=Path, metavar="DIR", help="masks of the reference")
    add("--out", required=True, type=Path, metavar="FILE", help="JSON file to write, in an existing folder")
    limit = parser.add_mutually_exclusive_group().add_argument
    limit("--budget-false", type=float, metavar="X", help="most false lesions a case, on average")
    limit("--budget-missed", type=float, metavar="X", help="most missed lesions a case, on average")
    limit("--alpha", type=float, metavar="A", help="part of lesions that a new case may miss, in expectation")
    add(
        "--matching",
        choices=("iou", "touch"),
        help="when a prediction finds a lesion (default: iou; touch for --alpha)",
    )
    add("--thresholds", type=float, nargs="+", metavar="P", help="to choose from (default: 0.05 to 0.95; 0.01 to 0.99)")
    add(
        "--min-volumes-mm3",
        type=float,
        nargs="+",
        metavar="V",
        help="smallest lesions kept, to choose from (default: 0 5 10 20 40 80; with --alpha one, by default 0)",
    )
    add(
        "--high-thresholds",
        type=float,
        nargs="+",
        default=(),
        metavar="P",
        help="hysteresis: to choose from, what a lesion has to reach somewhere (default: none)",
    )
    add("--ignore-label", type=ignore_label, metavar="N", help="value in the reference of voxels that are not scored")


def run_tune(options: argparse.Namespace) -> int:
    """Choose and write the point, and return the exit code: 0 it was written, 2 it was not, and why was told.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> add_tune(parser.add_subparsers())
        >>> run_tune(parser.parse_args("tune --prob nowhere --ref nowhere --out point.json".split()))
        2
    """
    # late, so that --help and wrong arguments do not wait for torch and MONAI
    from monai_instance_loss.evaluation.tune import TuneOptions, tune
    from monai_instance_loss.metrics.matching import Matching
    from monai_instance_loss.operating_points.choosing import ONE_TO_ONE

    rules = {"iou": ONE_TO_ONE, "touch": Matching()}
    try:
        tune(
            TuneOptions(
                probability_dir=options.prob,
                reference_dir=options.ref,
                out=options.out,
                budget_false=options.budget_false,
                budget_missed=options.budget_missed,
                alpha=options.alpha,
                matching=None if options.matching is None else rules[options.matching],
                thresholds=options.thresholds,
                min_volumes_mm3=options.min_volumes_mm3,
                high_thresholds=options.high_thresholds,
                ignore_label=options.ignore_label,
                command=getattr(options, "command_line", ""),
            )
        )
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
