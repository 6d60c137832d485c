"""Which loss finds more lesions? Trains every row in every regime, scores it on test cases, and compares.

A run that is finished is not run again; a run that was killed starts again. Nothing is chosen on test cases.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from contenders import CONTENDERS, MAIN
from regimes import REGIMES
from score_one import VOXEL_MM3, Case, score_run
from store import collect, is_scored, save_scores
from tqdm import tqdm
from train_one import SETTINGS, Cases, join, load, train_one

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from machine import describe  # noqa: E402

ROOT = HERE.parents[2]
RESULTS = HERE.parent / "results" / "effectiveness"


def plan(regimes: list[str], rows: list[str], seeds: list[int]) -> list[tuple[str, str, int]]:
    """(regime, row, seed) in the order of running: a seed of all rows before the next one."""
    return [(regime, row, seed) for regime in regimes for seed in seeds for row in rows]


def file_name(row: str) -> str:
    """The row's name as that of a file."""
    return row.replace("+", "plus").replace(", ", "_").replace(" ", "_")


def run_one(work: Path, commit: str, train: bool, regime: str, row: str, seed: int) -> str:
    """One run in a process of its own, on one core: two runs side by side are faster than two cores for one."""
    torch.set_num_threads(1)
    stem = work / regime / file_name(row) / f"seed{seed}"
    parts = REGIMES[regime].cases(work)
    out = stem.with_suffix(".npz")
    members = [work / regime / file_name(member) / f"seed{seed}.pt" for member in CONTENDERS[row].members]
    if members and not out.exists() and all(member.exists() for member in members):
        join(row, seed, parts, out, members)
    elif train and not members and not out.exists():
        train_one(row, seed, parts, out, {"commit": commit, "machine": describe(torch.device("cpu"))})
    if out.exists() and not is_scored(stem):
        val, test = (stored_cases(out, part, parts[part]) for part in ("val", "test"))
        save_scores(stem, {"regime": regime, "row": row, "seed": seed}, *score_run(val, test))
    return f"{regime}, {row}, seed {seed}"


def stored_cases(path: Path, part: str, cases: Cases) -> Iterator[Case]:
    """The cases of a part with the predictions of a run."""
    with np.load(path) as stored:
        for case, item in zip(cases, load(cases), strict=True):
            yield Case.of(case["case"], stored[f"{part}/{case['case']}"], item["wmh"][0], VOXEL_MM3)


def checked_commit() -> str:
    """The commit of the code; an error where losses or data differ from it."""
    frozen = [f"monai_instance_loss/{part}" for part in ("losses", "instances", "data")]
    changed = subprocess.run(["git", "status", "--porcelain", *frozen], cwd=ROOT, capture_output=True, text=True)
    if changed.returncode or changed.stdout:
        raise SystemExit(f"Expected losses and data as committed, but got changes: {changed.stdout or changed.stderr}")
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=["wmh"])
    parser.add_argument("--rows", nargs="+", choices=CONTENDERS, default=list(MAIN))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one core each")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "effectiveness")
    parser.add_argument("--score-only", action="store_true", help="train nothing; score what has been trained")
    options = parser.parse_args()
    commit = "" if options.score_only else checked_commit()
    for regime in options.regimes:
        REGIMES[regime].cases(options.work)
    runs = plan(options.regimes, options.rows, options.seeds)
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        jobs = [pool.submit(run_one, options.work, commit, not options.score_only, *run) for run in runs]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="Runs", unit="run"):
            tqdm.write(job.result())
    n_runs = collect(options.work, RESULTS, {"command": "python " + " ".join(sys.argv), "settings": SETTINGS})
    print(f"{n_runs} runs are in {RESULTS}")


if __name__ == "__main__":
    main()
