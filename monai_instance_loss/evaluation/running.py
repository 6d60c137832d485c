"""Cases over processes and hosts: a pool on each rank, and ranks that ``torchrun`` starts."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import torch.distributed as dist

from monai_instance_loss._optional import import_extra
from monai_instance_loss.evaluation.case import CaseResult, score_files
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure
from monai_instance_loss.evaluation.scoring import Scoring
from monai_instance_loss.evaluation.workers import Death, run_in_workers

__all__ = ["Ranks", "available_workers", "joined_ranks", "run_cases"]

# between two lines of progress in a log
_LINE_S = 60.0

tqdm = import_extra("tqdm", "tqdm")

# the slowest rank may have hours of work left when the first one is done
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class Ranks:
    """The processes that share an evaluation.

    Attributes:
        rank: number of this one.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def share(self, value: Any) -> Any:
        """The value that rank 0 has, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        _waited_for(lambda: dist.broadcast_object_list(box, src=0))
        return box[0]

    def own(self, items: Sequence[Any]) -> list[Any]:
        """Every ``size``-th item, from that of this rank."""
        return list(items[self.rank :: self.size])

    def gather(self, items: list[Any]) -> list[Any]:
        """On rank 0 the items of all ranks in the order from before ``own``, elsewhere nothing."""
        if self.size == 1:
            return items
        parts: list[Any] | None = [None] * self.size if self.rank == 0 else None
        _waited_for(lambda: dist.gather_object(items, parts))
        if parts is None:
            return []
        total = sum(map(len, parts))
        return [parts[index % self.size][index // self.size] for index in range(total)]

    def wait(self) -> None:
        """Until every rank is here."""
        self.gather([])


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks that ``torchrun`` started (``RANK``, ``WORLD_SIZE``), joined with gloo; else this process alone.

    Example:
        >>> with joined_ranks() as ranks:
        ...     ranks.gather(ranks.own([1, 2]))
        [1, 2]
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    _waited_for(lambda: dist.init_process_group("gloo", timeout=_PATIENCE))
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    except KeyboardInterrupt:
        raise  # to leave the group, this process would wait for the others
    except BaseException:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _waited_for(call: Callable[[], Any]) -> None:
    """Wait for other ranks in a thread: a signal is not heard by a main thread that waits inside torch."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    done.result()


def available_workers() -> int:
    """Cores that this process may use, shared with the other ranks of this host, at least 1.

    Example:
        >>> available_workers() >= 1
        True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def run_cases(
    cases: Sequence[CaseFiles], scoring: Scoring, workers: int, progress: bool = True
) -> Iterator[CaseResult]:
    """Score cases in worker processes of one thread each; results come as cases are done, and none is kept.

    Source: see ``score_files``. A process that dies, for lack of memory say, costs the case that it was at, and no
    other.

    Args:
        cases: from ``pair_files``.
        scoring: as in ``score_files``.
        workers: number of processes.
        progress: tell how many cases are done and how long the others will take: as a bar if standard error is a
            terminal, and else as a line now and then.

    Example:
        >>> list(run_cases([], Scoring(), workers=1))
        []
    """
    score = partial(_score, scoring=scoring)
    bar = _progress(len(cases), progress)
    with closing(bar), closing(run_in_workers(score, cases, workers, preload=__name__)) as done:
        for index, result in done:
            yield _lost(cases[index], result) if isinstance(result, Death) else result
            bar.update()


class _Lines:
    """Progress as lines of a log, one a minute at most, where a bar would be thousands of them."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.start = self.last = time.monotonic()

    def update(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.last < _LINE_S or self.done == self.total:
            return
        self.last = now
        left = tqdm.format_interval((now - self.start) / self.done * (self.total - self.done))
        print(f"{self.done} of {self.total} cases done, {left} left", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


def _progress(total: int, shown: bool) -> Any:
    if not shown or sys.stderr.isatty():
        return tqdm(total=total, desc="Cases", unit="case", disable=not shown)
    return _Lines(total)


def _score(case: CaseFiles, scoring: Scoring) -> CaseResult:
    try:
        return score_files(case, scoring)
    except Exception as error:  # one case must not cost the others
        return CaseResult(case.case, failures=[Failure(case.case, None, f"{type(error).__name__}: {error}")])


def _lost(case: CaseFiles, death: Death) -> CaseResult:
    files = ", ".join(map(str, (case.reference, *case.predictions.values(), *filter(None, [case.probability]))))
    hint = " Where memory ran out, run again with fewer --workers." if death.cause == "SIGKILL" else ""
    message = f"Expected the process that scores {files} to finish, but got its end by {death.cause}.{hint}"
    return CaseResult(case.case, failures=[Failure(case.case, None, message)])
