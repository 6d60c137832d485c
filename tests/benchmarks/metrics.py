"""Time of panoptic quality from 256^3 masks: ours, MONAI's and panoptica's, side by side on the same volumes.

python -m pip install panoptica && python tests/benchmarks/metrics.py --out tests/benchmarks/results/metrics_cpu.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import torch
from monai.metrics import PanopticQualityMetric as MonaiPanopticQuality

from monai_instance_loss import label_instances
from monai_instance_loss.metrics import InstanceF1Metric, PanopticQualityMetric

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe
from tables import metrics_table
from volumes import lesions

OURS = "PanopticQualityMetric"


def masks(side: int, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bool prediction and truth (1, 1, *[side] * 3): lesions moved by a voxel, and a quarter as many false ones."""
    true = lesions((1, 1, side, side, side), count, seed) > 0
    pred = true.roll((1, 1, 1), (2, 3, 4)) | (lesions((1, 1, side, side, side), count // 4, seed + 1) > 0)
    return pred, true


def contenders(pred: torch.Tensor, true: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Name to a call that scores the volume. Ours and panoptica's label it; MONAI's is given the labels for nothing."""
    # a peer to measure against, and no dependency of the tests, which import this file
    from panoptica import (
        ConnectedComponentsInstanceApproximator,
        InputType,
        NaiveThresholdMatching,
        Panoptica_Evaluator,
    )

    pred_map, true_map = label_instances(pred), label_instances(true)
    with_class = [torch.cat([side.labels, (side.labels > 0).int()], 1) for side in (pred_map, true_map)]
    arrays = [side[0, 0].numpy().astype("uint8") for side in (pred, true)]
    panoptica = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=NaiveThresholdMatching(),
        verbose=False,
    )

    def by_panoptica() -> object:
        # it prints, and computes a score when it is read
        with redirect_stdout(StringIO()):
            return next(iter(panoptica.evaluate(*arrays).values())).pq

    return {
        OURS: lambda: PanopticQualityMetric()(pred, true),
        "InstanceF1Metric": lambda: InstanceF1Metric()(pred, true),
        "panoptica": by_panoptica,
        "PanopticQualityMetric (MONAI), labels given": lambda: MonaiPanopticQuality(num_classes=1)(*with_class),
    }


def measure(side: int, count: int, repeats: int, seed: int) -> dict[str, object]:
    """Milliseconds of each, interleaved."""
    calls = contenders(*masks(side, count, seed))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    out_of_memory: set[str] = set()
    for _ in range(repeats + 1):
        for name, call in calls.items():
            # what takes minutes is not run more than it must be
            if name in out_of_memory or (samples[name] and samples[name][0] > 20e3):
                continue
            start = time.perf_counter()
            try:
                call()
            except (MemoryError, RuntimeError) as error:
                print(f"{name}, {side}^3, {count} instances: {error}")
                out_of_memory.add(name)
                continue
            samples[name].append((time.perf_counter() - start) * 1e3)
    times = {name: values[1:] or values for name, values in samples.items() if name not in out_of_memory}
    ours = statistics.median(times[OURS])
    rows: dict[str, dict[str, float] | None] = dict.fromkeys(samples)
    for name, values in times.items():
        rows[name] = {
            "median_ms": round(statistics.median(values), 1),
            "min_ms": round(min(values), 1),
            "max_ms": round(max(values), 1),
            "over_ours": round(statistics.median(values) / ours, 2),
        }
    return {"side": side, "instances": count, "metrics": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-gib", type=int, default=20, help="what takes more counts as out of memory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write; without it, only the table is printed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # an error to catch rather than a machine without memory
    resource.setrlimit(resource.RLIMIT_AS, (options.memory_gib * 2**30,) * 2)
    cases = [measure(256, count, options.repeats, options.seed) for count in (10, 200, 2000)]
    # the same density of instances in an eighth of the voxels, and what fits into memory everywhere
    cases += [measure(128, count, options.repeats, options.seed) for count in (25, 200)]
    result = {
        "command": "python tests/benchmarks/metrics.py " + " ".join(sys.argv[1:]),
        "machine": describe(torch.device("cpu")) | {"panoptica": version("panoptica")},
        "seed": options.seed,
        "repeats": options.repeats,
        "memory_gib": options.memory_gib,
        "what": f"one call on bool masks; ratio to {OURS}",
        "cases": cases,
        "voxels_8_times": round(
            cases[1]["metrics"][OURS]["median_ms"] / cases[3]["metrics"][OURS]["median_ms"],
            2,
        ),
    }
    print(metrics_table(result))
    print("8 times the voxels take", result["voxels_8_times"], "times the time")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
