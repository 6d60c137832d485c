"""Signals that stop the command: everything is tidied up, and then the process ends as the signal would end it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["Stopped", "die_of", "raised_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# a second signal, from a launcher or an impatient user, must not break off the tidying up that the first one began
_TIDYING_S = 3.0


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM came.

    Attributes:
        signal: which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def raised_signals() -> Iterator[None]:
    """Raise ``Stopped`` in the body when SIGINT or SIGTERM comes; in a thread that is not the main one do nothing.

    Example:
        >>> try:
        ...     with raised_signals():
        ...         signal.raise_signal(signal.SIGTERM)
        ... except Stopped as stopped:
        ...     print(stopped.signal.name)
        SIGTERM
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised_at = -_TIDYING_S

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal raised_at
        if time.monotonic() - raised_at >= _TIDYING_S:
            raised_at = time.monotonic()
            raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def die_of(number: signal.Signals) -> None:
    """End this process, and the server that its workers were forked from, by a signal, as shells and launchers expect.

    Nothing else is waited for: threads may hang in a call to another rank.
    """
    # the server hears of our end only after its imports, which take seconds
    module = sys.modules.get("multiprocessing.forkserver")
    server = getattr(getattr(module, "_forkserver", None), "_forkserver_pid", None)
    if server is not None:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
