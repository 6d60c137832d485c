"""The command line: the evaluation, and the way to the command of operating points."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from monai_instance_loss._optional import require_extra
from monai_instance_loss.evaluation.arguments import make_parser
from monai_instance_loss.evaluation.stopping import Stopped, die_of, raised_signals
from monai_instance_loss.evaluation.tables import printable
from monai_instance_loss.evaluation.tune_command import run_tune

__all__ = ["main"]


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
    parser = make_parser()
    options = parser.parse_args(arguments)
    tunes = options.command == "tune"
    if not tunes:
        try:
            options.models = _models(_first_model(options), options.compare)
        except ValueError as error:
            parser.error(str(error))
    try:
        require_extra("tqdm", "matplotlib", "scipy")
    except ImportError as error:
        return _stop(str(error))
    options.command_line = " ".join(["python -m monai_instance_loss", *map(_quoted, arguments)])
    try:
        with raised_signals():
            return run_tune(options) if tunes else _evaluate(options)
    except Stopped as stopped:
        folder = options.out.parent if tunes else options.out
        _stop(f"stopped by {stopped.signal.name}; every file in {folder} is whole.")
        die_of(stopped.signal)
    return 2


def _evaluate(options: argparse.Namespace) -> int:
    # late, so that --help and wrong arguments do not wait for torch and MONAI
    from monai_instance_loss.evaluation.evaluate import Options, evaluate
    from monai_instance_loss.operating_points import OperatingPoint

    try:
        return evaluate(
            Options(
                reference_dir=options.ref,
                models=options.models,
                out_dir=options.out,
                image_dir=options.image,
                probability_dir=options.prob,
                operating_point=OperatingPoint.load(options.operating_point) if options.operating_point else None,
                layout=options.layout,
                cases=options.cases,
                skip_missing=options.skip_missing,
                resume=options.resume,
                labels=options.label,
                ignore_label=options.ignore_label,
                matching=options.matching,
                assignment=options.assignment,
                connectivity=options.connectivity,
                min_size=options.min_size,
                empty=options.empty,
                edges_mm3=tuple(options.strata_mm3),
                workers=options.workers,
                seed=options.seed,
                command=options.command_line,
            )
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        return _stop(str(error))


def _first_model(options: argparse.Namespace) -> tuple[str, str] | None:
    """The option that names the folder of the first model, and its value; None where a CSV file names predictions."""
    if options.operating_point is None:
        return None if options.pred is None else ("--pred", options.pred)
    if options.pred is not None or options.prob is None:
        raise ValueError(
            f"Expected `--prob` and no `--pred` with `--operating-point`, but got {options.prob} and {options.pred}."
        )
    return "--prob", str(options.prob)


def _models(first: tuple[str, str] | None, compare: Sequence[str]) -> dict[str, Path]:
    """Folder of each model by its name, the first one first."""
    models: dict[str, Path] = {}
    if first is None and compare:
        raise ValueError("Expected `--pred` with `--compare`, but got none.")
    given = [] if first is None else [first]
    for option, value in [*given, *(("--compare", item) for item in compare)]:
        name, equals, folder = value.partition("=")
        # a run's folder may be called by its options: runs/lr=0.1/pred
        is_folder = Path(value).is_dir()
        if option == "--prob" or (option == "--pred" and (is_folder or not equals)):
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


def _quoted(argument: str) -> str:
    return f"'{argument}'" if " " in argument else argument


def _stop(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
