"""Work in processes, of which any may die and take no more with it than the item that it was at."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

__all__ = ["Death", "run_in_workers"]


@dataclass(frozen=True)
class Death:
    """What there is in place of the result of an item whose process died.

    Attributes:
        cause: name of the signal, such as SIGKILL, or the exit code.
    """

    cause: str


def run_in_workers(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int, preload: str = __name__
) -> Generator[tuple[int, Any], None, None]:
    """Call a function on each item, in processes of one thread each, and give results as they come.

    Source: ours; in a ``concurrent.futures.ProcessPoolExecutor`` one process that dies takes all items along. The
    processes are killed when the iterator is closed, and die when this process does.

    Args:
        function: can be pickled, and raises nothing.
        items: can be pickled.
        workers: how many processes at most.
        preload: module to import once for all processes.

    Returns:
        An iterator over the number of an item and the result, or ``Death``.

    Example:
        >>> list(run_in_workers(abs, [-1], workers=1))
        [(0, 1)]
    """
    context = _context(preload)
    waiting = list(enumerate(items))[::-1]
    idle: list[Connection] = []
    busy: dict[Connection, int] = {}
    processes: dict[Connection, Any] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                connection = idle.pop() if idle else _start(context, function, processes)
                busy[connection], item = waiting.pop()
                with suppress(ConnectionError):  # a process that died says so below
                    connection.send(item)
            ready = wait(list(busy))
            for connection in [one for one in busy if one in ready]:
                index = busy.pop(connection)
                try:
                    result = connection.recv()
                    idle.append(connection)
                except (EOFError, ConnectionError):
                    result = _death(processes.pop(connection))
                yield index, result
    finally:
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.join()


def _context(preload: str) -> Any:
    # a fork of this process could inherit a lock that one of torch's threads holds
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([preload])
    return context


def _start(context: Any, function: Callable[[Any], Any], processes: dict[Connection, Any]) -> Connection:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, function), daemon=True)
    process.start()
    theirs.close()
    processes[ours] = process
    return ours


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    # Ctrl-C reaches every process of a terminal; the first one ends the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    with suppress(EOFError, ConnectionError):
        while True:
            connection.send(function(connection.recv()))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _death(process: Any) -> Death:
    process.join()
    code = process.exitcode
    return Death(signal.Signals(-code).name if code < 0 else f"exit code {code}")
