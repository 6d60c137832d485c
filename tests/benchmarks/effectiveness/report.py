"""What the documentation says of effectiveness, written into it from the stored tables alone.

python tests/benchmarks/effectiveness/report.py
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from compare import BASELINE, summarise
from contenders import MAIN

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "tests" / "benchmarks" / "results" / "effectiveness"
MARKS = "<!-- effectiveness -->", "<!-- end of effectiveness -->"
COLUMNS = {
    "one_f1": ("lesion F1", 3),
    "one_missed": ("missed a case", 1),
    "one_false": ("false a case", 1),
    "touch_f1": ("F1 by touch", 3),
    "dice": ("Dice", 3),
}


def load(results: Path = RESULTS) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Cases, curves and runs."""
    tables = (pd.read_csv(results / name, dtype={"point": str}) for name in ("cases.csv", "curves.csv.gz"))
    return *tables, json.loads((results / "runs.json").read_text())


def summaries(cases: pd.DataFrame, curves: pd.DataFrame, runs: Sequence[Mapping]) -> dict[str, dict]:
    """The summary of each regime, over the seeds that the baseline has: rows are compared on the same ones."""
    result = {}
    for regime in dict.fromkeys(cases.regime):
        seeds = {run["seed"] for run in runs if run["regime"] == regime and run["row"] == BASELINE}
        mine, theirs = (part[(part.regime == regime) & part.seed.isin(seeds)] for part in (cases, curves))
        known = [run for run in runs if run["regime"] == regime and run["seed"] in seeds]
        result[regime] = summarise(mine, theirs, known)
    return result


def stated(summary: Mapping[str, dict], rows: Sequence[str]) -> list[str]:
    """The rows that have an interval, which takes two seeds: a mean without one is not stated."""
    return [row for row in rows if summary["rows"].get(row, {}).get("seeds", 0) > 1]


def page(summary: Mapping[str, dict], rows: Sequence[str]) -> str:
    """Both tables of a regime, as the documentation has them."""
    shown = stated(summary, rows)
    return f"{table(summary, shown)}\n\n{difference_table(summary, shown)}"


def table(summary: Mapping[str, dict], rows: Sequence[str]) -> str:
    """Scores at the chosen point, mean and 95 % interval, best F1 first; in Markdown."""
    lines = [
        "| loss (seeds) | " + " | ".join(title for title, _ in COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    known = sorted(
        (row for row in rows if row in summary["rows"]),
        key=lambda row: -summary["rows"][row]["chosen"]["one_f1"][0],
    )
    for row in known:
        entry = summary["rows"][row]
        cells = [_interval(entry["chosen"][name], digits) for name, (_, digits) in COLUMNS.items()]
        lines.append(f"| {row} ({entry['seeds']}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def difference_table(summary: Mapping[str, dict], rows: Sequence[str]) -> str:
    """Paired differences from the baseline, with 95 % intervals; a star where Holm's p is below 0.05."""
    tests = summary[f"less {BASELINE}"]
    lines = [
        f"| less {BASELINE} | " + " | ".join(title for title, _ in COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for row in (row for row in rows if row in tests):
        cells = []
        for name, (_, digits) in COLUMNS.items():
            test = tests[row][name]
            star = "*" if test["p_holm"] < 0.05 else ""
            cells.append(_interval((test["mean"], test["low"], test["high"]), digits, "+") + star)
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interval(numbers: Sequence[float], digits: int, sign: str = "") -> str:
    mean, low, high = numbers
    text = f"{mean:{sign}.{digits}f}"
    return text if math.isnan(low) else f"{text} ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"


def plain(value: object) -> object:
    """NaN and infinity as text that JSON can hold, numbers to 5 digits."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 5) if math.isfinite(value) else None
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    cases, curves, stored = load(options.results)
    found = summaries(cases, curves, stored["runs"])
    (options.results / "summary.json").write_text(json.dumps(plain(found), indent=1) + "\n")
    for regime, summary in found.items():
        rows = list(summary["rows"])
        print(f"\n{regime}\n\n{table(summary, rows)}\n\n{difference_table(summary, rows)}")
    wmh = found["wmh"]
    write(ROOT / "README.md", table(wmh, stated(wmh, MAIN)))
    write(ROOT / "tests" / "benchmarks" / "README.md", page(wmh, tuple(wmh["rows"])))


def write(path: Path, text: str) -> None:
    """Put a text between the marks of a page."""
    before, start, rest = path.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    path.write_text(f"{before}{start}\n{text}\n{end}{after}")


if __name__ == "__main__":
    main()
