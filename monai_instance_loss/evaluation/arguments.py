"""The arguments of the command line, known without torch: ``--help`` does not wait."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai_instance_loss.evaluation.argument_types import ignore_label
from monai_instance_loss.evaluation.tune_command import add_tune

__all__ = ["make_parser"]

_STRATA_MM3 = (10.0, 30.0, 100.0, 300.0, 1000.0)

_LAYOUTS = ("flat", "wmh", "nnunet", "bids", "brats", "mslesseg", "csv")

_DESCRIPTION = """\
Score lesion masks (NIfTI) against a reference: Dice, H95, AVD, lesion recall, precision and F1, panoptic quality,
sensitivity by lesion volume, agreement of counts and volumes, FROC, and comparisons of models."""

_DETAILS = """\
how files are paired:
  --ref has one of these layouts, which is detected and said where it is clear, and else chosen with --layout:
    flat      <case>.nii or <case>.nii.gz right in it
    wmh       <site>/<case>/wmh.nii.gz at any depth, as in the WMH Segmentation Challenge
    nnunet    labelsTr or labelsTs (or the folder of the data set, if it has one of them) and dataset.json, whose labels
              and regions are the classes, and whose label `ignore` is not scored
    bids      sub-*/ses-*/.../*_mask.nii.gz or *_dseg.nii.gz, but no brain masks; a case is sub-*_ses-*
    brats     BraTS-*-seg.nii.gz at any depth
    mslesseg  P<id>_T<n>_MASK.nii.gz at any depth
    csv       a CSV file with the columns case and reference, and, if you like, prediction, probability, image and
              group; paths start at its folder. With a column prediction, --pred may be left out
  The prediction of a case is the file <case>.nii or <case>.nii.gz in --pred, the file that is called as in the layout,
  or the folder <case>/ with a wmh or result file, or with one NIfTI file only. For the challenge's layout the case may
  be called <site>/<case>, <site>_<case> or, if no other site has one of that name, <case>. Linked folders are followed.
  A file that may be that of two cases is used for neither.
  Probability maps (--prob) are found in the same way, and scans (--image) too, as <case>_0000 or <case>/pre/FLAIR also.

what masks may hold:
  0 and 1, in any dtype, or 0 and 255, which is said; --ignore-label adds one value in the reference. With --label, or
  classes in dataset.json, any whole numbers: there is a table for each class, and the mean of all. Nothing is rounded
  or thresholded, but that a slope such as 1/32767 is float32, and makes 0 and 1 of stored whole numbers up to rounding
  only. Grids of a pair are the same to a tenth of a voxel. What is wrong with one pair is reported, and the others go
  on. A qform and sform that put a voxel more than half a voxel apart are reported, and the sform is used.

what is written to --out, each file whole or not at all:
  cases.csv     scores of each case, model and class; an empty cell where there is nothing to score
  lesions.csv   each lesion of the reference and of the predictions: size, place, detected, missed, matched or false
                In both, a name that a spreadsheet would run as a formula (=, +, -, @ first) begins with '
  cases.jsonl   all of a case on one line of JSON, in the order of the cases. While cases are scored, and after a run
                that was stopped, such lines are in cases.partial-*.jsonl, for --resume
  summary.json  means with intervals, strata, agreement, comparisons, failures, warnings, versions, command line
  report.html   the same for reading, with figures, in one file

exit code: 0 all pairs were scored; 1 some were not, or none, or a figure could not be drawn; 2 wrong arguments, or
nothing could be written. SIGINT and SIGTERM end all processes and leave no half file.

thousands of cases: torchrun --nproc-per-node 8 -m monai_instance_loss evaluate ... shares the cases over processes and
hosts that see the same folders, --out too; the numbers are those of one process."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``python -m monai_instance_loss``.

    Example:
        >>> make_parser().parse_args(["evaluate", "--ref", "a", "--out", "b"]).matching
        'touch'
    """
    parser = argparse.ArgumentParser(prog="python -m monai_instance_loss")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser(
        "evaluate",
        help="score masks against a reference",
        description=_DESCRIPTION,
        epilog=_DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_argument
    add("--pred", metavar="[NAME=]DIR", help="predicted masks; the model is called as the folder is")
    add("--ref", required=True, type=Path, metavar="DIR", help="masks of the reference, or a CSV file of pairs")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the results, made when missing")
    add("--layout", choices=_LAYOUTS, help="how --ref is laid out (default: detected)")
    add("--compare", action="append", default=[], metavar="NAME=DIR", help="masks of another model; may be repeated")
    add("--prob", type=Path, metavar="DIR", help="probability maps of the model of --pred, for the FROC curve")
    add(
        "--operating-point",
        type=Path,
        metavar="FILE",
        help="JSON of `tune`: the masks are made of the maps of --prob, and there is no --pred",
    )
    add(
        "--image",
        type=Path,
        metavar="DIR",
        help="scans to draw masks on; left out, those that the layout has, as pre/FLAIR.nii.gz next to wmh.nii.gz",
    )
    _add_subset(add)
    _add_scoring(add)
    add(
        "--strata-mm3",
        type=_edge,
        nargs="+",
        default=_STRATA_MM3,
        metavar="V",
        help="lesion volumes between strata of sensitivity (default: 10 30 100 300 1000)",
    )
    add("--workers", type=_positive, metavar="N", help="processes (default: one a core)")
    add("--seed", type=_not_negative, default=0, metavar="N", help="of the bootstrap (default: 0)")
    add_tune(commands)
    return parser


def _add_subset(add: Callable[..., Any]) -> None:
    add("--cases", nargs="+", default=[], metavar="NAME", help="score these cases only; patterns such as 'Utrecht/*'")
    add(
        "--skip-missing",
        action="store_true",
        help="a case on one side only, or a --label that is in no mask, is said and costs no exit code",
    )
    add(
        "--resume",
        action="store_true",
        help="keep the cases in --out that an earlier run scored from the same files with the same options",
    )


def _add_scoring(add: Callable[..., Any]) -> None:
    add(
        "--label",
        "--region",
        action="append",
        default=[],
        metavar="N|NAME=1,2",
        help="score this label of a label map, or these as one class; may be repeated",
    )
    add(
        "--ignore-label",
        type=ignore_label,
        metavar="N",
        help="value in the reference of voxels that are not scored: 2 for the other pathology of the WMH Challenge. "
        "Left out, such a value is an error",
    )
    add(
        "--matching",
        default="touch",
        metavar="RULE[:T]",
        help="what matches two lesions: touch (default), iou, dice or ior (intersection over the reference) above a "
        "threshold (iou:0.3; default: 0.5), pred_center or true_center, that of one in the other",
    )
    add(
        "--assignment",
        choices=("many", "greedy", "optimal", "max_cardinality"),
        default="many",
        help="whether a lesion may match many (default), or one, and which",
    )
    add(
        "--connectivity",
        type=int,
        choices=(1, 2, 3),
        help="voxels of one lesion share faces (1), edges (2) or corners (3, default)",
    )
    add(
        "--min-size",
        type=_not_negative,
        default=0,
        metavar="VOXELS",
        help="take lesions of fewer voxels out of both masks, but not of the FROC curve (default: 0)",
    )
    add(
        "--empty",
        choices=("exclude", "one", "zero"),
        default="exclude",
        help="Dice and lesion scores of a case whose masks are both empty: none (default), 1 or 0",
    )


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, but got {text}")
    return int(text)


def _not_negative(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, but got {text}")
    return int(text)


def _edge(text: str) -> float:
    return float(text)
