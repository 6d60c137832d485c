"""Files below a folder, and the order of their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["natural_key", "walk_files"]


def walk_files(folder: Path) -> list[Path]:
    """All files below a folder at any depth, sorted, those of linked folders too.

    Source: ours; ``Path.rglob`` skips links to folders, or enters loops of them, as Python's version has it.

    Convention: a link to a folder that holds the link is a loop, and is left out. Whatever is no folder is listed, a
    link that leads nowhere too, so that who reads it can name it.

    Args:
        folder: where to start.

    Raises:
        OSError: a folder cannot be read; the message names it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, "a").mkdir()
        ...     Path(root, "a", "x.nii").touch()
        ...     Path(root, "a", "loop").symlink_to(root)
        ...     [path.relative_to(root).as_posix() for path in walk_files(Path(root))]
        ['a/x.nii']
    """
    return sorted(_walk(Path(folder), ()))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Key to sort names by the numbers in them: ``p2`` before ``p10``.

    Example:
        >>> sorted(["p10", "p2"], key=natural_key)
        ['p2', 'p10']
    """
    # isdecimal, as isdigit holds for "²" too, which is no number
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Files below ``folder``; ``above`` are the real paths of the folders that led to it."""
    try:
        real = folder.resolve(strict=True)
        if any(path.is_relative_to(real) for path in above):
            return
        with os.scandir(folder) as entries:
            found = [(Path(entry.path), entry.is_dir()) for entry in entries]
    except (OSError, RuntimeError) as error:
        raise OSError(f"Expected a folder that can be read, but got {folder}: {error}") from error
    for path, is_folder in found:
        if is_folder:
            yield from _walk(path, (*above, real))
        else:
            yield path
