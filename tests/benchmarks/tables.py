"""The README's tables from the stored result files: python tests/benchmarks/tables.py"""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def speed_table(result: dict) -> str:
    """Ratios of forward + backward to the baseline, one row a case."""
    names = list(result["cases"][0]["losses"])
    lines = ["| volume, lesions | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for case in result["cases"]:
        label = f"{'x'.join(map(str, case['shape']))}, {case['lesions']}"
        cells = (f"{case['losses'][name]['ratio_median']:.2f}" for name in names)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def training_table(result: dict) -> str:
    """Validation scores of the best checkpoint, one row a run."""
    columns = {
        "instance_f1": "instance F1",
        "missed_instances": "missed a case",
        "false_instances": "false a case",
        "mean_dice": "Dice",
    }
    lines = ["| loss, seed | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for run in result["runs"]:
        cells = (f"{run[name]:.{1 if 'instances' in name else 3}f}" for name in columns)
        lines.append(f"| {run['loss']}, {run['seed']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES = {"speed_cpu.json": speed_table, "training.json": training_table}


def main() -> None:
    for name, table in TABLES.items():
        print(f"{name}\n\n{table(json.loads((RESULTS / name).read_text()))}\n")


if __name__ == "__main__":
    main()
