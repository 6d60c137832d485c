"""What the README says of effectiveness: a summary and a table, from the stored tables alone.

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

RESULTS = Path(__file__).resolve().parents[1] / "results" / "effectiveness"
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
    """The summary of each regime that has runs."""
    return {
        regime: summarise(
            cases[cases.regime == regime],
            curves[curves.regime == regime],
            [run for run in runs if run["regime"] == regime],
        )
        for regime in dict.fromkeys(cases.regime)
    }


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


if __name__ == "__main__":
    main()
