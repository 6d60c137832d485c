"""The command line of the evaluation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from monai_instance_loss._optional import require_extra
from monai_instance_loss.evaluation.stopping import Stopped, die_of, raised_signals
from monai_instance_loss.evaluation.tables import printable

__all__ = ["main"]

_STRATA_MM3 = (10.0, 30.0, 100.0, 300.0, 1000.0)

_DESCRIPTION = """\
Score binary lesion masks (NIfTI) against a reference: Dice, H95, AVD, lesion recall, precision and F1, panoptic
quality, sensitivity by lesion volume, agreement of counts and volumes, FROC, and comparisons of models."""

_DETAILS = """\
how files are paired:
  The reference is <case>.nii or <case>.nii.gz right in --ref, or <site>/<case>/wmh.nii.gz below it, at any depth, as in
  the WMH Segmentation Challenge. The prediction of a case is the file <case>.nii or <case>.nii.gz in --pred, or the
  folder <case>/ in it with a wmh or result file, or with one NIfTI file only. For the challenge's layout the case may
  be called <site>/<case>, <site>_<case> or, if no other site has one of that name, <case>. Linked folders are followed.
  A file that may be that of two cases is used for neither.
  Probability maps (--prob) are found in the same way, and scans (--image) too, as <case>_0000 or <case>/pre/FLAIR also.

what masks may hold:
  0 and 1, in any dtype; --ignore-label adds one value in the reference. Nothing is rounded or thresholded, but that a
  slope such as 1/32767 is float32, and makes 0 and 1 of stored whole numbers up to rounding only. Grids of a pair are
  the same to a tenth of a voxel. What is wrong with one pair is reported, and the others go on. A qform and sform that
  put a voxel more than half a voxel apart are reported, and the sform is used.

what is written to --out, each file whole or not at all:
  cases.csv     scores of each case and model; an empty cell where there is nothing to score
  lesions.csv   each lesion of the reference and of the predictions: size, place, detected, missed, matched or false
                In both, a name that a spreadsheet would run as a formula (=, +, -, @ first) begins with '
  summary.json  means with intervals, strata, agreement, comparisons, failures, warnings, versions, command line
  report.html   the same for reading, with figures, in one file

exit code: 0 all pairs were scored; 1 some were not, or none, or a figure could not be drawn; 2 wrong arguments, or
nothing could be written. SIGINT and SIGTERM end all processes and leave no half file.

thousands of cases: torchrun --nproc-per-node 8 -m monai_instance_loss evaluate ... shares the cases over processes and
hosts that see the same folders; the numbers are those of one process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 all pairs scored, 1 some not, 2 nothing done.

    Source: ours. ``--help`` explains options, pairing and files.

    Args:
        arguments: those after ``python -m monai_instance_loss``; None takes them from the command line.

    Raises:
        SystemExit: arguments are wrong (code 2), or help was asked for (code 0).

    Example:
        >>> main(["evaluate", "--pred", "nowhere", "--ref", "nowhere", "--out", "/tmp"])
        2
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.models = _models(options.pred, options.compare)
    except ValueError as error:
        parser.error(str(error))
    try:
        require_extra("tqdm", "matplotlib", "scipy")
    except ImportError as error:
        return _stop(str(error))
    options.command_line = " ".join(["python -m monai_instance_loss", *map(_quoted, arguments)])
    try:
        with raised_signals():
            return _evaluate(options)
    except Stopped as stopped:
        _stop(f"stopped by {stopped.signal.name}; every file in {options.out} is whole.")
        die_of(stopped.signal)
    return 2


def _evaluate(options: argparse.Namespace) -> int:
    # late, so that --help and wrong arguments do not wait for torch and MONAI
    from monai_instance_loss.evaluation.evaluate import Options, evaluate

    try:
        return evaluate(
            Options(
                reference_dir=options.ref,
                models=options.models,
                out_dir=options.out,
                image_dir=options.image,
                probability_dir=options.prob,
                ignore_label=options.ignore_label,
                edges_mm3=tuple(options.strata_mm3),
                workers=options.workers,
                seed=options.seed,
                command=options.command_line,
            )
        )
    except (OSError, ValueError, RuntimeError) as error:
        return _stop(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monai_instance_loss")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser(
        "evaluate",
        help="score masks against a reference",
        description=_DESCRIPTION,
        epilog=_DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_argument
    add("--pred", required=True, metavar="[NAME=]DIR", help="predicted masks; the model is called as the folder is")
    add("--ref", required=True, type=Path, metavar="DIR", help="masks of the reference")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the results, made when missing")
    add("--compare", action="append", default=[], metavar="NAME=DIR", help="masks of another model; may be repeated")
    add("--prob", type=Path, metavar="DIR", help="probability maps of the model of --pred, for the FROC curve")
    add(
        "--image",
        type=Path,
        metavar="DIR",
        help="scans to draw masks on; left out, pre/FLAIR.nii.gz next to the reference's wmh.nii.gz",
    )
    add(
        "--ignore-label",
        type=_ignore_label,
        metavar="N",
        help="value in the reference of voxels that are not scored: 2 for the other pathology of the WMH Challenge. "
        "Left out, such a value is an error",
    )
    add(
        "--strata-mm3",
        type=_edge,
        nargs="+",
        default=_STRATA_MM3,
        metavar="V",
        help="lesion volumes between strata of sensitivity (default: 10 30 100 300 1000)",
    )
    add("--workers", type=_positive, metavar="N", help="processes (default: one a core)")
    add("--seed", type=_seed, default=0, metavar="N", help="of the bootstrap (default: 0)")
    return parser


def _models(pred: str, compare: Sequence[str]) -> dict[str, Path]:
    """Folder of each model by its name, that of --pred first."""
    models: dict[str, Path] = {}
    for option, value in [("--pred", pred), *(("--compare", item) for item in compare)]:
        name, equals, folder = value.partition("=")
        # a run's folder may be called by its options: runs/lr=0.1/pred
        is_folder = Path(value).is_dir()
        if option == "--pred" and (is_folder or not equals):
            name, folder = Path(value).resolve().name, value
        elif not name or not folder or (is_folder and not Path(folder).is_dir()):
            raise ValueError(f"Expected `{option}` to be NAME=DIR, but got {value!r}.")
        elif not Path(folder).is_dir():
            raise ValueError(f"Expected `{option}` to be NAME=DIR of a folder, but got {value!r}, and no {folder}.")
        name = printable(name)
        if name in models:
            raise ValueError(f"Expected models to have different names, but got {name!r} twice.")
        models[name] = Path(folder)
    return models


def _ignore_label(text: str) -> int:
    if int(text) in (0, 1):
        raise argparse.ArgumentTypeError(f"expected neither 0 (background) nor 1 (lesion), but got {text}")
    return int(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, but got {text}")
    return int(text)


def _seed(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, but got {text}")
    return int(text)


def _edge(text: str) -> float:
    return float(text)


def _quoted(argument: str) -> str:
    return f"'{argument}'" if " " in argument else argument


def _stop(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
