"""What was scored of each case, one line of JSON a case, in files that are only ever appended to."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from monai_instance_loss._whole_file import whole_file
from monai_instance_loss.evaluation.case import CaseResult, CaseScores
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure
from monai_instance_loss.evaluation.tables import to_json_line

__all__ = ["LOG", "CaseLog", "inputs_of", "result_of_line"]

# whole, in the order of the cases
LOG = "cases.jsonl"
# of a run that goes on or was stopped, in the order in which cases were done
_PARTS = "cases.partial-*.jsonl"
_FLOATS = tuple(column.name for column in fields(CaseScores) if column.type == "float")


def inputs_of(case: CaseFiles, settings: Mapping[str, Any]) -> str:
    """What the result of a case depends on, as a short text: its files, as they are on the disk, and the settings.

    Example:
        >>> case = CaseFiles("a", Path("nowhere.nii"), {})
        >>> inputs_of(case, {"min_size": 0}) == inputs_of(case, {"min_size": 1})
        False
    """
    files = {"reference": case.reference, "probability": case.probability, **case.predictions}
    known = [(name, str(path), *_state(path)) for name, path in files.items() if path is not None]
    text = json.dumps([case.case, case.group, known, settings], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def result_of_line(line: bytes) -> tuple[CaseResult, str]:
    """The result of a case from its line, and the inputs that it came from.

    Raises:
        ValueError: the line is cut off, or none of a case.
    """
    try:
        entry = json.loads(line)
        scores = [CaseScores(**{key: _number(key, value) for key, value in row.items()}) for row in entry["scores"]]
        froc = None if entry["froc"] is None else np.array(entry["froc"], np.float32).reshape(-1, 4)
        failures = [Failure(**failure) for failure in entry["failures"]]
        kept = {key: entry[key] for key in ("case", "lesions", "remarks", "white", "labels")}
        return CaseResult(**kept, scores=scores, froc=froc, failures=failures), entry["inputs"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Expected the line of a case, but got: {error}") from error


class CaseLog:
    """The results of the cases of an evaluation, in the folder where its tables will be.

    Source: ours. A process that is killed loses the case that it was writing at most. Several processes may append,
    each to a file of its own. What is kept in memory is where the line of each case begins.

    Args:
        folder: an existing folder, the same one for all processes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = CaseLog(Path(folder))
        ...     log.append([CaseResult("b"), CaseResult("a")], {"a": "1", "b": "2"}, rank=0)
        ...     [result.case for result in log.results(["a", "b", "c"])]
        ['a', 'b']
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def start(self, inputs: Mapping[str, str], resume: bool) -> tuple[set[str], int]:
        """Make ready to append: keep or drop what earlier runs left.

        Args:
            inputs: of each case, see ``inputs_of``.
            resume: keep what was scored without a failure from the same inputs.

        Returns:
            The cases that are kept, and how many results of a run that was stopped are dropped for want of ``resume``.
        """
        parts = self._parts()
        kept: set[str] = set()
        left = sum(1 for path in parts for _ in _lines(path))
        if resume:
            target = self.folder / _PARTS.replace("*", "kept")
            with whole_file(target) as temporary, open(temporary, "wb") as file:
                for path in (*parts, self.folder / LOG):
                    for _, line in _lines(path):
                        case = _still_good(line, inputs)
                        if case is not None and case not in kept:
                            kept.add(case)
                            file.write(line)
            parts = [path for path in self._parts() if path != target or not kept]
        for path in parts:
            path.unlink()
        return kept, 0 if resume else left

    def append(self, results: Iterable[CaseResult], inputs: Mapping[str, str], rank: int) -> None:
        """Write each result as it comes."""
        path = self.folder / _PARTS.replace("*", str(rank))
        with ExitStack() as stack:
            file: IO[str] | None = None
            for result in results:
                if file is None:
                    file = stack.enter_context(open(path, "w", encoding="ascii"))
                file.write(_line(result, inputs[result.case]))
                file.flush()

    def lines(self, cases: Iterable[str]) -> Iterator[bytes]:
        """The lines of these cases, in this order; a case that has none is left out."""
        places = {_case_of(line): (path, offset) for path in self._parts() for offset, line in _lines(path)}
        with ExitStack() as stack:
            files = {path: stack.enter_context(open(path, "rb")) for path in self._parts()}
            for path, offset in (places[case] for case in cases if case in places):
                files[path].seek(offset)
                yield files[path].readline()

    def results(self, cases: Iterable[str]) -> Iterator[CaseResult]:
        """The results of these cases, in this order, one in memory at a time."""
        return (result_of_line(line)[0] for line in self.lines(cases))

    def clear(self) -> None:
        """Remove what a run that ends here appended to."""
        for path in self._parts():
            path.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob(_PARTS))


def _line(result: CaseResult, inputs: str) -> str:
    froc = None if result.froc is None else result.froc.tolist()
    return to_json_line({"case": result.case, "inputs": inputs, **asdict(result), "froc": froc})


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Where each line of a file begins, and the line; one that was cut off is none."""
    if not path.is_file():
        return
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def _case_of(line: bytes) -> str:
    case: str = json.loads(line)["case"]
    return case


def _still_good(line: bytes, inputs: Mapping[str, str]) -> str | None:
    """The case of a line that another run may keep."""
    try:
        result, made_from = result_of_line(line)
    except ValueError:
        return None
    return result.case if not result.failures and inputs.get(result.case) == made_from else None


def _number(name: str, value: Any) -> Any:
    return math.nan if value is None and name in _FLOATS else value


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return (-1, -1)
    return (state.st_size, state.st_mtime_ns)
