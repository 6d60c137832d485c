"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes its place in one step when the block ends.

    Source: ours. After an error ``path`` is as it was and nothing is left beside it. SIGINT and SIGTERM wait until the
    file is whole (in the main thread, where Python receives them); after SIGKILL ``path`` is as it was.

    Args:
        path: the file to write; its folder must exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with whole_file(Path(root, "a.txt")) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     [file.name for file in Path(root).iterdir()]
        ['a.txt']
    """
    temporary = path.with_name(f".writing-{path.name}")
    with _signals_wait():
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _signals_wait() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that Python did not set and cannot set again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if received:
            signal.raise_signal(received[0])
