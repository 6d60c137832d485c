"""Results as files: CSV and JSON that other tools read, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["check_writable", "csv_lines", "printable", "to_csv", "to_json", "to_json_line", "write_files"]


_FORMULA = ("=", "+", "-", "@", "\t")


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of ``to_csv``, one at a time."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    yield text.getvalue()
    for row in rows:
        text.seek(0)
        text.truncate()
        writer.writerow({key: _cell(value) for key, value in row.items()})
        yield text.getvalue()


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a header line, numbers with seven digits, as many as the float32 of NIfTI headers is good for.

    NaN and None become empty cells, which R, pandas and Excel read as missing. Text that a spreadsheet would run as a
    formula, as it begins with ``=``, ``+``, ``-``, ``@`` or a tab, gets a ``'`` before it; numbers, negative ones too,
    stay as they are.

    Example:
        >>> print(to_csv(["case", "dice"], [{"case": "a", "dice": 0.5}, {"case": "b", "dice": math.nan}]), end="")
        case,dice
        a,0.5
        b,
        >>> print(to_csv(["case", "change"], [{"case": "-1", "change": -1.0}]), end="")
        case,change
        '-1,-1
    """
    return "".join(csv_lines(columns, rows))


def to_json(value: Any) -> str:
    """A nested dictionary as indented JSON; NaN and infinity, which JSON does not know, become null.

    Example:
        >>> to_json({"mean": math.nan})
        '{\\n  "mean": null\\n}\\n'
    """
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_json_line(value: Any) -> str:
    """A nested dictionary as one line of JSON, in ASCII; NaN and infinity become null.

    Example:
        >>> to_json_line({"dice": math.nan})
        '{"dice": null}\\n'
    """
    return json.dumps(_finite(value), allow_nan=False) + "\n"


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make a folder where it is missing, and refuse one that cannot be written to.

    Raises:
        OSError: it cannot be made or written to.

    Example:
        >>> with tempfile.TemporaryDirectory() as root:
        ...     check_writable(f"{root}/results")
        ...     os.listdir(root)
        ['results']
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"Expected a folder that can be written to, but got {folder}: {error}") from error


def write_files(folder: str | os.PathLike[str], files: Mapping[str, str | Iterable[str]]) -> None:
    """Write text files; none is replaced before all are on the disk, and none is ever half written.

    Args:
        folder: an existing folder.
        files: text of each file, by its name, at once or in pieces.

    Raises:
        OSError: a file cannot be written; the ones that were there are left as they were.

    Example:
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_files(root, {"a.csv": "1"})
        ...     os.listdir(root)
        ['a.csv']
    """
    temporary = {name: Path(folder, f".writing-{os.getpid()}-{name}") for name in files}
    try:
        for name, text in files.items():
            # file names may hold bytes that are no text: they are spelt out
            with open(temporary[name], "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.writelines([text] if isinstance(text, str) else text)
                file.flush()
                os.fsync(file.fileno())
        for name, path in temporary.items():
            os.replace(path, Path(folder, name))
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def printable(text: str, encoding: str = "utf-8") -> str:
    """Text with whatever an encoding cannot write, such as the bytes of a file name that is no UTF-8, spelt out.

    Example:
        >>> printable("p\\udcff"), printable("²", "ascii")
        ('p\\\\udcff', '\\\\xb2')
    """
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else f"{value:.7g}"
    if isinstance(value, str):
        # csv does not quote a carriage return, and readers take it for the end of a row
        text = value.replace("\r", "\\r")
        return f"'{text}" if text.startswith(_FORMULA) else text
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
