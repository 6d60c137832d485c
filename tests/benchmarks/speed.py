"""Time of forward + backward of the instance losses over MONAI's DiceCELoss, side by side on the same tensors.

python tests/benchmarks/speed.py --out tests/benchmarks/results/speed_cpu.json
python tests/benchmarks/speed.py --device cuda --out tests/benchmarks/results/speed_gpu.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.losses import DiceCELoss
from scipy.ndimage import distance_transform_edt

from monai_instance_loss import label_instances
from monai_instance_loss.losses import (
    BiCCLoss,
    BlobLoss,
    CCLoss,
    ICILoss,
    InstanceCenterLoss,
    InstanceLoss,
    SoftInstanceF1Loss,
)

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe
from tables import speed_table
from volumes import lesions, logits

BASELINE = "DiceCELoss (MONAI)"
TRANSFORMS = "distance transforms (scipy)"


def losses() -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Name to loss; each includes its pixel loss."""
    default = InstanceLoss(sigmoid=True)
    return {
        BASELINE: DiceCELoss(sigmoid=True),
        "InstanceLoss": default,
        "InstanceLoss, all seven terms": lambda input, target: torch.stack(default.terms(input, target)).sum(),
        "InstanceLoss, target_is_instances": InstanceLoss(sigmoid=True, target_is_instances=True),
        "SoftInstanceF1Loss + pixel": SoftInstanceF1Loss(sigmoid=True, weights={"pixel": 1}),
        "InstanceCenterLoss": InstanceCenterLoss(sigmoid=True),
        "ICILoss": ICILoss(sigmoid=True),
        "BlobLoss": BlobLoss(sigmoid=True),
        "CCLoss": CCLoss(sigmoid=True),
        "BiCCLoss": BiCCLoss(sigmoid=True),
    }


def distance_transforms(mask: torch.Tensor) -> None:
    """The transforms that cells are found with, one after the other."""
    for volume in mask.flatten(0, 1).cpu().numpy():
        if volume.any():
            distance_transform_edt(volume == 0, return_distances=False, return_indices=True)


def measure(shape: tuple[int, ...], count: int, device: torch.device, repeats: int, seed: int) -> dict[str, object]:
    """Milliseconds of each loss on one case, interleaved so that a slow spell of the machine hits all of them."""
    target = lesions(shape, count, seed)
    input = logits(target, seed, false_count=count // 4).to(device).requires_grad_()
    target = target.to(device)
    instance_map = label_instances(target).labels.to(target.dtype)
    samples: dict[str, list[float]] = {}
    for repeat in range(repeats + 2):
        for name, loss in losses().items():
            given = instance_map if "target_is_instances" in name else target
            input.grad = None
            _synchronise(device)
            start = time.perf_counter()
            loss(input, given).backward()
            _synchronise(device)
            if repeat >= 2:
                samples.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
        for name, mask in ((f"{TRANSFORMS}, true", target), (f"{TRANSFORMS}, predicted", input.detach() >= 0)):
            start = time.perf_counter()
            distance_transforms(mask)
            if repeat >= 2:
                samples.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
    base = samples[BASELINE]
    rows = {}
    for name, times in samples.items():
        ratios = sorted(t / b for t, b in zip(times, base, strict=True))
        rows[name] = {
            "median_ms": round(statistics.median(times), 3),
            "min_ms": round(min(times), 3),
            "p90_ms": round(sorted(times)[int(0.9 * (len(times) - 1))], 3),
            "ratio_median": round(statistics.median(ratios), 3),
            "ratio_p10": round(ratios[int(0.1 * (len(ratios) - 1))], 3),
            "ratio_p90": round(ratios[int(0.9 * (len(ratios) - 1))], 3),
        }
    true, pred = samples[f"{TRANSFORMS}, true"], samples[f"{TRANSFORMS}, predicted"]
    over_transforms = (
        {}
        if count == 0
        else {
            "CCLoss": statistics.median(c / t for c, t in zip(samples["CCLoss"], true, strict=True)),
            "BiCCLoss": statistics.median(b / (t + p) for b, t, p in zip(samples["BiCCLoss"], true, pred, strict=True)),
        }
    )
    return {
        "shape": list(shape),
        "lesions": count,
        "foreground": round(float(target.mean()), 5),
        "losses": {name: row for name, row in rows.items() if not name.startswith(TRANSFORMS)},
        "over_distance_transforms": {name: round(ratio, 3) for name, ratio in over_transforms.items()},
    }


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write; without it, only the table is printed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    result = {
        "command": "python tests/benchmarks/speed.py " + " ".join(sys.argv[1:]),
        "machine": describe(device),
        "seed": options.seed,
        "repeats": options.repeats,
        "what": f"forward + backward; ratio to {BASELINE} of the same round",
        "cases": [
            measure((batch, 1, 128, 128, 128), count, device, options.repeats, options.seed)
            for batch in (1, 2)
            for count in (0, 10, 60, 600)
        ],
    }
    at = {
        case["lesions"]: case["losses"]["InstanceLoss, all seven terms"]["median_ms"]
        for case in result["cases"]
        if case["shape"][0] == 2
    }
    result["all_terms_600_over_60"] = round(at[600] / at[60], 3)
    print(speed_table(result))
    print("all seven terms, 600 lesions over 60:", result["all_terms_600_over_60"])
    print("over distance transforms:", [case["over_distance_transforms"] for case in result["cases"]])
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
