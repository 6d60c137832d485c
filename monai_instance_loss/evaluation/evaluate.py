"""The evaluation from folders to files: pair, score, summarise, draw, write."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from monai_instance_loss._versions import version_of
from monai_instance_loss.data.layouts import DataSet
from monai_instance_loss.data.opening import open_data_set
from monai_instance_loss.evaluation.case_log import CaseLog, inputs_of
from monai_instance_loss.evaluation.outputs import write_results
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure, pair_data_set
from monai_instance_loss.evaluation.results import Results, collect, summarise
from monai_instance_loss.evaluation.running import Ranks, available_workers, joined_ranks, run_cases
from monai_instance_loss.evaluation.scoring import Scoring, parse_matching
from monai_instance_loss.evaluation.selection import chosen_cases, classes_of, labels_in_no_class, labels_nowhere
from monai_instance_loss.evaluation.tables import check_writable
from monai_instance_loss.metrics.strata import checked_edges
from monai_instance_loss.operating_points import OperatingPoint

__all__ = ["Options", "evaluate"]


@dataclass(frozen=True)
class Options:
    """What to evaluate and how; ``python -m monai_instance_loss evaluate --help`` says more on each.

    Attributes:
        reference_dir: folder of the reference, or a CSV file of pairs.
        models: folder of each model by its name; the others are compared with the first.
        out_dir: folder of the results.
        image_dir: folder of scans.
        probability_dir: folder of probability maps of the first model.
        operating_point: where it is given, the folder of the first model holds probability maps, from which its masks
            are made.
        layout: how the reference is laid out, None to detect it.
        cases: names or patterns of the cases to score, all where it is empty.
        skip_missing: whether a case on one side only, or a label that is nowhere, is no failure.
        resume: whether to keep what a run that was stopped, or had failures, has scored.
        labels: classes, each as ``N``, ``NAME`` or ``NAME=1,2``.
        ignore_label: value in the reference of voxels that are not scored.
        matching: ``criterion`` or ``criterion:threshold``.
        assignment: as in ``Matching``.
        connectivity: as in ``Scoring``.
        min_size: as in ``Scoring``.
        empty: as in ``Scoring``.
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
    layout: str | None = None
    cases: Sequence[str] = ()
    skip_missing: bool = False
    resume: bool = False
    labels: Sequence[str] = ()
    ignore_label: int | None = None
    matching: str = "touch"
    assignment: str = "many"
    connectivity: int | None = None
    min_size: int = 0
    empty: str = "exclude"
    edges_mm3: Sequence[float] = (10.0, 30.0, 100.0, 300.0, 1000.0)
    workers: int | None = None
    seed: int = 0
    command: str = ""


@dataclass(frozen=True)
class _Plan:
    """What there is to do.

    Attributes:
        layout: name of the layout of the reference.
        scoring: what is scored, and how.
        declared: whether the classes are those that the data set declares.
        models: names of the models.
        cases: all of them.
        unpaired: what has no partner.
        inputs: of each case, for the log.
        finished: cases that an earlier run has scored.
    """

    layout: str
    scoring: Scoring
    declared: bool
    models: Sequence[str]
    cases: Sequence[CaseFiles]
    unpaired: Sequence[Failure]
    inputs: Mapping[str, str]
    finished: set[str]


def evaluate(options: Options) -> int:
    """Score all pairs and write ``cases.csv``, ``cases.jsonl``, ``lesions.csv``, ``summary.json``, ``report.html``.

    Source: ours. Under ``torchrun`` each rank scores its part, and rank 0 writes. What is done is in
    ``cases.partial-*.jsonl`` until the end; memory does not grow with the number of cases but for their scores, and
    three numbers a lesion.

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
    log = CaseLog(options.out_dir)
    with joined_ranks() as ranks:
        plan = _shared_plan(options, log, ranks)
        own = ranks.own([case for case in plan.cases if case.case not in plan.finished])
        workers = options.workers or available_workers()
        log.append(run_cases(own, plan.scoring, workers, progress=ranks.rank == 0), plan.inputs, ranks.rank)
        ranks.wait()
    if ranks.rank != 0:
        # torchrun would stop rank 0 at its work if another one ended with an error
        return 0
    return _report(options, plan, log)


def _report(options: Options, plan: _Plan, log: CaseLog) -> int:
    """From the results of all cases to the files; the exit code."""
    names = [case.case for case in plan.cases]
    results = collect(log.results(names), plan.models, [region.name for region in plan.scoring.regions] or [""])
    failures = [*plan.unpaired, *results.failures]
    failures += [_no_result(name, options.out_dir) for name in names if name not in results.seen]
    if plan.declared:
        results.remarks += labels_in_no_class(plan.scoring, results.found)
    elif results.cases:
        failures += labels_nowhere(plan.scoring, results.found)
    skipped = [failure for failure in failures if failure.missing and options.skip_missing]
    failures = [failure for failure in failures if not (failure.missing and options.skip_missing)]
    _tell_problems(failures, skipped, results)
    if not results.cases:
        log.clear()
        print(f"error: no pair could be scored; nothing was written to {options.out_dir}.", file=sys.stderr)
        return 1
    settings = {
        "layout": plan.layout,
        **plan.scoring.described(),
        "operating_point": _described(options.operating_point),
        "seed": options.seed,
        "strata_mm3": list(options.edges_mm3),
    }
    summary = summarise(results, settings, failures, skipped, len(plan.cases), options.command)
    all_drawn = write_results(log, plan.cases, results, summary, plan.scoring)
    log.clear()
    return int(bool(failures) or not all_drawn)


def _shared_plan(options: Options, log: CaseLog, ranks: Ranks) -> _Plan:
    """The plan of rank 0, for all ranks; an error ends all of them, and rank 0 says which."""
    outcome: _Plan | Exception | None = None
    if ranks.rank == 0:
        try:
            outcome = _plan(options, log)
        except (OSError, ValueError, TypeError) as error:
            outcome = error
    outcome = ranks.share(outcome)
    if isinstance(outcome, _Plan):
        return outcome
    if ranks.rank == 0 and outcome is not None:
        raise outcome
    raise SystemExit(2)


def _plan(options: Options, log: CaseLog) -> _Plan:
    checked_edges(options.edges_mm3)
    data = open_data_set(options.reference_dir, options.layout)
    regions, declared = classes_of(data, options.labels)
    scoring = Scoring(
        ignore_label=data.ignore_label if options.ignore_label is None else options.ignore_label,
        regions=regions,
        matching=parse_matching(options.matching, options.assignment),
        connectivity=options.connectivity,
        min_size=options.min_size,
        empty=options.empty,
    )
    if options.operating_point is not None and len(regions) > 1:
        raise ValueError("Expected one label with an operating point, which makes masks of one class, but got several.")
    cases, unpaired = chosen_cases(*_paired(options, data), options.cases)
    if len(regions) > 1 and any(case.probability for case in cases):
        raise ValueError("Expected one label with probability maps (--prob), which are of one class, but got several.")
    check_writable(options.out_dir)
    print(data.describe(), file=sys.stderr)
    point = _described(options.operating_point)
    settings = {"version": version_of("monai_instance_loss"), **scoring.described(), "operating_point": point}
    inputs = {case.case: inputs_of(case, settings) for case in cases}
    finished, dropped = log.start(inputs, options.resume)
    if options.resume:
        print(f"{len(finished)} of {len(cases)} cases are scored already, and kept", file=sys.stderr)
    if dropped:
        print(f"warning: {dropped} cases of a stopped run are scored again; --resume keeps them", file=sys.stderr)
    models = list(options.models) or ["prediction"]
    return _Plan(data.layout.name, scoring, declared, models, cases, unpaired, inputs, finished)


def _paired(options: Options, data: DataSet) -> tuple[list[CaseFiles], list[Failure]]:
    point = options.operating_point
    maps = options.probability_dir if point is None else None
    cases, failures = pair_data_set(data, options.models, maps, options.image_dir)
    if point is not None:
        first = next(iter(options.models))
        cases = [replace(case, probability=case.predictions.get(first), points={first: point}) for case in cases]
    return cases, failures


def _described(point: OperatingPoint | None) -> dict[str, object] | None:
    return None if point is None else asdict(point)


def _no_result(case: str, folder: Path) -> Failure:
    message = f"Expected the result of {case} in {folder}, but got none. Is it one folder for all hosts?"
    return Failure(case, None, message)


def _tell_problems(failures: Sequence[Failure], skipped: Sequence[Failure], results: Results) -> None:
    for remark in results.remarks:
        print(f"warning: {remark}", file=sys.stderr)
    for word, problems in (("skipped", skipped), ("NOT SCORED", failures)):
        for failure in problems:
            model = f" ({failure.model})" if failure.model else ""
            print(f"{word} {failure.case}{model}: {failure.message}", file=sys.stderr)
