"""Train the WMH bundle with InstanceLoss and with DiceCE alone, same seed, data and steps, and compare.

    python tests/benchmarks/training.py --seeds 0 --out tests/benchmarks/results/training.json

Writes the JSON, and both console logs beside it. Options after `--` go to the bundle, to both runs alike.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

CONFIGS = Path(__file__).parents[2] / "tutorials" / "wmh_bundle" / "configs"
RUNS = {"InstanceLoss": ["train.yaml"], "DiceCE": ["train.yaml", "dicece.yaml"]}


def run_bundle(configs: list[str], options: list[str], log: Path) -> float:
    """Run the bundle, add its console output to the log, and return the seconds it took."""
    files = "[" + ",".join(f"'{CONFIGS / name}'" for name in configs) + "]"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", files, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    # stored beside the result, the log should not name folders of this machine
    text = done.stdout
    for folder in (str(CONFIGS.parents[2]), sys.prefix, tempfile.gettempdir()):
        text = text.replace(folder + "/", "")
    with log.open("a") as file:
        file.write(text)
    if done.returncode:
        raise RuntimeError(f"the bundle ended with {done.returncode}, see {log}:\n{done.stdout[-2000:]}")
    return time.perf_counter() - start


def train_and_evaluate(name: str, seed: int, extra: list[str], log: Path) -> dict[str, float]:
    """Validation metrics of the best checkpoint of one run."""
    log.write_text("")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--seed", str(seed), "--ckpt_dir", f"{folder}/models", "--output_dir", f"{folder}/output", *extra]
        seconds = run_bundle(RUNS[name], options, log)
        run_bundle([*RUNS[name], "evaluate.yaml"], options, log)
        metrics = Path(folder) / "output" / "evaluation" / "metrics.csv"
        with metrics.open() as file:
            scores = {row[0].strip(): float(row[1]) for row in csv.reader(file) if len(row) == 2}
    return {**{key: round(value, 4) for key, value in scores.items()}, "training_seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    options, extra = parser.parse_known_args()
    extra = [option for option in extra if option != "--"]
    result = {
        "command": "python tests/benchmarks/training.py " + " ".join(sys.argv[1:]),
        "machine": describe(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "what": "validation cases, best checkpoint by instance F1; missed and false are instances per case",
        "options": extra,
        "runs": [],
    }
    for seed in options.seeds:
        for name in RUNS:
            log = options.out.with_name(f"{options.out.stem}_{name}_seed{seed}.log")
            scores = train_and_evaluate(name, seed, extra, log)
            result["runs"].append({"loss": name, "seed": seed, "log": log.name, **scores})
            print(result["runs"][-1], flush=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
