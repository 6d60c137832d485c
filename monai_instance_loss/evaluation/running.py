"""Cases over processes and hosts: a pool on each rank, and ranks that ``torchrun`` starts."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from monai_instance_loss._optional import import_extra
from monai_instance_loss.evaluation.case import CaseResult, score_case
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure

__all__ = ["Ranks", "available_workers", "joined_ranks", "run_cases"]

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
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def own(self, items: Sequence[Any]) -> list[Any]:
        """Every ``size``-th item, from that of this rank."""
        return list(items[self.rank :: self.size])

    def gather(self, items: list[Any]) -> list[Any]:
        """On rank 0 the items of all ranks in the order from before ``own``, elsewhere nothing."""
        if self.size == 1:
            return items
        parts: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(items, parts)
        if parts is None:
            return []
        total = sum(map(len, parts))
        return [parts[index % self.size][index // self.size] for index in range(total)]


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
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def available_workers() -> int:
    """Cores that this process may use, shared with the other ranks of this host, at least 1.

    Example:
        >>> available_workers() >= 1
        True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def run_cases(
    cases: Sequence[CaseFiles], ignore_label: int | None, workers: int, progress: bool = True
) -> list[CaseResult]:
    """Score cases in worker processes of one thread each; the results are in the order of the cases.

    Source: see ``score_case``.

    Args:
        cases: from ``pair_files``.
        ignore_label: as in ``score_case``.
        workers: number of processes; with 1, everything runs in this one.
        progress: show a progress bar, if standard error is a terminal.

    Raises:
        RuntimeError: a worker was killed.

    Example:
        >>> run_cases([], None, workers=1)
        []
    """
    # None shows the bar on terminals only
    bar = tqdm(total=len(cases), desc="Cases", unit="case", disable=None if progress else True)
    workers = min(workers, len(cases))
    with bar:
        if workers <= 1:
            results = []
            for case in cases:
                results.append(_score(case, ignore_label))
                bar.update()
            return results
        return _run_pool(cases, ignore_label, workers, bar)


def _run_pool(cases: Sequence[CaseFiles], ignore_label: int | None, workers: int, bar: Any) -> list[CaseResult]:
    # a fork of this process could inherit a lock that one of torch's threads holds
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,))
    try:
        futures = [pool.submit(_score, case, ignore_label) for case in cases]
        for _ in as_completed(futures):
            bar.update()
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise RuntimeError(
            "Expected all worker processes to finish, but one was killed, most likely for lack of memory: run again "
            "with fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _score(case: CaseFiles, ignore_label: int | None) -> CaseResult:
    try:
        return score_case(case, ignore_label)
    except Exception as error:  # one case must not cost the others
        return CaseResult(case.case, failures=[Failure(case.case, None, f"{type(error).__name__}: {error}")])
