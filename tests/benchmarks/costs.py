"""Time of forward + backward of every loss over MONAI's DiceCELoss, on one volume of 128^3 with 60 lesions.

python tests/benchmarks/costs.py --out tests/benchmarks/results/costs_cpu.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from inspect import signature
from pathlib import Path

import torch
from monai.losses import DiceCELoss

from monai_instance_loss import losses
from monai_instance_loss.losses import pixel

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe
from tables import LOSSES, loss_table
from volumes import lesions, logits

BASELINE = "DiceCELoss (MONAI)"


def every_loss() -> dict[str, torch.nn.Module]:
    """Name to loss, as the table of losses names them."""
    kinds = {name: getattr(losses if hasattr(losses, name) else pixel, name) for row in LOSSES for name in row.names}
    # a cross-entropy over classes has nothing to do on one channel
    del kinds["CrossEntropyLoss"]
    return {
        name: kind(sigmoid=True) if "sigmoid" in signature(kind).parameters or is_ours(kind) else kind()
        for name, kind in kinds.items()
    }


def is_ours(kind: type) -> bool:
    """Whether a loss is this package's, all of which take `sigmoid`, most in their keyword arguments."""
    return kind.__module__.startswith("monai_instance_loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="measure these, and keep the others of --out")
    parser.add_argument("--out", type=Path, help="JSON file to write; without it, only the table is printed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    target = lesions((1, 1, 128, 128, 128), 60, options.seed)
    input = logits(target, options.seed, false_count=15).requires_grad_()
    baseline = DiceCELoss(sigmoid=True)

    def seconds(loss: torch.nn.Module) -> float:
        input.grad = None
        start = time.perf_counter()
        loss(input, target).backward()
        return time.perf_counter() - start

    known = json.loads(options.out.read_text()) if options.only and options.out else {}
    costs = known.get("losses", {})
    every = every_loss()
    if unknown := [name for name in options.only or () if name not in every]:
        parser.error(f"--only: expected names of {sorted(every)}, but got {unknown}")
    for name, loss in every.items():
        if options.only and name not in options.only:
            continue
        seconds(loss), seconds(baseline)
        # each against a baseline of the same moment
        ratios = sorted(seconds(loss) / seconds(baseline) for _ in range(options.repeats))
        costs[name] = {
            "ratio_median": round(statistics.median(ratios), 3),
            "ratio_min": round(ratios[0], 3),
            "ratio_max": round(ratios[-1], 3),
        }
        print(name, costs[name])
    result = known or {
        "command": "python tests/benchmarks/costs.py " + " ".join(sys.argv[1:]),
        "machine": describe(torch.device("cpu")),
        "seed": options.seed,
        "repeats": options.repeats,
        "what": f"forward + backward over {BASELINE}, 1x1x128x128x128, 60 lesions",
    }
    # in the order of the table, whichever was measured last
    result["losses"] = {name: costs[name] for name in every if name in costs}
    print(loss_table(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
