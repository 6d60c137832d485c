"""Speed and memory of the labelling and of the losses, beside what a user would pick instead, in one process.

python tests/benchmarks/speed.py --out tests/benchmarks/results/speed_cpu.json
python tests/benchmarks/speed.py --device cuda --out tests/benchmarks/results/speed_gpu.json

Every round calls every contender once, and ratios are those of a round. `--quick` runs all of it on tiny volumes in two
rounds, to see that it runs; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from class_speed import class_section
from goals import goals
from labelling_speed import labelling_section
from loss_speed import BASELINE, loss_section
from machine import describe
from memory import memory_section
from step import step_section
from tables import SPEED_TABLES


def sections(device: torch.device, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Section of the result to what measures it."""
    seed, quick, repeats = options.seed, options.quick, options.repeats
    return {
        "labelling": lambda: labelling_section(device, repeats, seed, quick),
        "losses": lambda: loss_section(device, repeats, seed, quick),
        "classes": lambda: class_section(device, repeats, options.threads, seed, quick),
        "memory": lambda: memory_section(device, options.threads, seed, quick),
        "step": lambda: step_section(device, repeats, seed, quick),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="tiny volumes, two rounds")
    parser.add_argument(
        "--only", choices=("labelling", "losses", "classes", "memory", "step"), help="measure one section"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write; without it, only the tables are printed")
    options = parser.parse_args()
    if options.quick:
        options.repeats = 2
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    result = {
        "what": f"milliseconds, and ratios to {BASELINE}, InstanceLoss or label_instances of the same round; "
        "memory in float32 maps of the size of the batch",
        "command": "python tests/benchmarks/speed.py " + " ".join(sys.argv[1:]),
        "machine": describe(device),
        "device": str(device),
        "seed": options.seed,
        "repeats": options.repeats,
        "seconds": {},
        "errors": {},
    }
    for name, measure in sections(device, options).items():
        if options.only not in (None, name):
            continue
        start = time.perf_counter()
        try:
            result[name] = measure()
        except Exception as error:  # what was measured before must not be lost
            result["errors"][name] = f"{type(error).__name__}: {error}"
            print(f"{name}: {result['errors'][name]}", file=sys.stderr, flush=True)
        result["seconds"][name] = round(time.perf_counter() - start)
        result["goals"] = goals(result)
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    for table in SPEED_TABLES:
        print(f"\n{table(result)}")
    print("\nseconds:", result["seconds"])
    if result["errors"]:
        sys.exit(f"sections that failed: {result['errors']}")


if __name__ == "__main__":
    main()
