"""The stored results: one table of cases, one of curves, and what each run was. Finished runs are never lost.

``cases.csv``: a line for each regime, row, seed, operating point and test case. ``curves.csv.gz``: counts at each cut,
of every validation and test case. ``runs.json``: commit, machine, settings, split, chosen point and validation
curve of each run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from monai_instance_loss._whole_file import whole_file

KEYS = ["regime", "row", "seed"]


def save_scores(stem: Path, key: Mapping[str, object], cases: list[dict[str, object]], curve: list) -> None:
    """Write the scores of one run beside its probabilities; the case table comes last and says that all is there."""
    for name, rows in (("curve", curve), ("cases", cases)):
        with whole_file(stem.with_suffix(f".{name}.csv")) as path:
            pd.DataFrame([{**key, **row} for row in rows]).to_csv(path, index=False, float_format="%.6g")


def is_scored(stem: Path) -> bool:
    """Whether ``save_scores`` finished."""
    return stem.with_suffix(".cases.csv").exists()


def collect(work: Path, results: Path, head: Mapping[str, object]) -> int:
    """Join what is scored under ``work`` with what ``results`` holds already; returns the number of runs."""
    results.mkdir(parents=True, exist_ok=True)
    stems = [path.with_name(path.name.removesuffix(".cases.csv")) for path in sorted(work.glob("*/*/*.cases.csv"))]
    cases = _joined(results / "cases.csv", [pd.read_csv(stem.with_suffix(".cases.csv")) for stem in stems])
    curves = _joined(results / "curves.csv.gz", [_all_sizes(stem) for stem in stems])
    known = results / "runs.json"
    runs = {_key(run): run for run in (json.loads(known.read_text())["runs"] if known.exists() else [])}
    for stem in stems:
        run = json.loads(stem.with_suffix(".json").read_text())
        run = {"regime": stem.parent.parent.name, **run}
        runs[_key(run)] = run
    with whole_file(results / "cases.csv") as path:
        cases.to_csv(path, index=False, float_format="%.6g")
    with whole_file(results / "curves.csv.gz") as path:
        curves.to_csv(path, index=False, float_format="%.6g", compression={"method": "gzip", "mtime": 1})
    with whole_file(known) as path:
        path.write_text(json.dumps({**head, "runs": [runs[key] for key in sorted(runs)]}, indent=1) + "\n")
    return len(runs)


def _key(run: Mapping[str, object]) -> tuple[str, str, int]:
    return str(run["regime"]), str(run["row"]), int(str(run["seed"]))


def _all_sizes(stem: Path) -> pd.DataFrame:
    """The curve with every prediction kept; the smaller ones served the choice of the operating point."""
    curve = pd.read_csv(stem.with_suffix(".curve.csv"))
    return curve[curve.smallest == 1].drop(columns="smallest")


def _joined(path: Path, new: list[pd.DataFrame]) -> pd.DataFrame:
    """Old lines, but for those of runs in ``new``, and the new ones."""
    tables = [*([pd.read_csv(path)] if path.exists() else []), *new]
    together = pd.concat(tables, ignore_index=True)
    identity = [*KEYS, *(["point", "case"] if "point" in together else ["part", "case", "threshold"])]
    return together.drop_duplicates(identity, keep="last").sort_values(identity, kind="stable", ignore_index=True)
