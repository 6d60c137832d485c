"""Forward and forward + backward of the losses and of their peers over MONAI's DiceCELoss."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from cases import NAMES, NOISE, Batch, cases
from monai.losses import DiceCELoss
from peers import PASSES, dense_instance_loss, looped_instance_loss, voronoi_instance_loss
from scipy.ndimage import distance_transform_edt
from timing import Samples, interleaved, over, spread

from monai_instance_loss.losses import (
    BiCCLoss,
    BlobLoss,
    CCLoss,
    ICILoss,
    InstanceCenterLoss,
    InstanceLoss,
    SoftInstanceF1Loss,
)

BASELINE = "DiceCELoss (MONAI)"
OURS = "InstanceLoss"
PIXEL = "InstanceLoss, pixel loss alone"
ALL_TERMS = "InstanceLoss, all seven terms"
FROM_MAP = "InstanceLoss, target_is_instances"
DENSE = "dense scatter-add, label maps"
VORONOI = "dense scatter-add, Voronoi maps"
LOOPED = f"max pooling ({PASSES} passes) and a loop"
TRUE_TRANSFORMS, PRED_TRANSFORMS = "distance transforms, true", "distance transforms, predicted"

# distance transforms take most of their time: a few repeats, and only where there are lesions to be near to
CELLS = ("CCLoss", "BiCCLoss", VORONOI, TRUE_TRANSFORMS, PRED_TRANSFORMS)
CELL_CASES = ("10 lesions", "60 lesions", "600 lesions")
# a large fraction of a second each
SLOW = CELLS


def losses() -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Name to loss; each includes its pixel loss."""
    default = InstanceLoss(sigmoid=True)
    return {
        BASELINE: DiceCELoss(sigmoid=True),
        OURS: default,
        PIXEL: InstanceLoss(sigmoid=True, weights={"instance": 0, "instance_pred": 0, "false": 0, "missed": 0}),
        ALL_TERMS: lambda input, target: torch.stack(default.terms(input, target)).sum(),
        FROM_MAP: InstanceLoss(sigmoid=True, target_is_instances=True),
        "SoftInstanceF1Loss + pixel": SoftInstanceF1Loss(sigmoid=True, weights={"pixel": 1}),
        "InstanceCenterLoss": InstanceCenterLoss(sigmoid=True),
        "ICILoss": ICILoss(sigmoid=True),
        "BlobLoss": BlobLoss(sigmoid=True),
        "CCLoss": CCLoss(sigmoid=True),
        "BiCCLoss": BiCCLoss(sigmoid=True),
        DENSE: dense_instance_loss,
        VORONOI: voronoi_instance_loss,
    }


def target_of(name: str, batch: Batch) -> torch.Tensor:
    """The target that a loss takes."""
    return batch.instance_map if name == FROM_MAP else batch.target


def distance_transforms(mask: torch.Tensor) -> None:
    """The transforms that cells are found with, one after the other."""
    for volume in mask.flatten(0, 1).cpu().numpy():
        if volume.any():
            distance_transform_edt(volume == 0, return_distances=False, return_indices=True)


def contenders(batch: Batch) -> dict[str, Callable[[], object]]:
    """Name to a call on the case's tensors, whose result is differentiated."""

    def on_batch(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], target: torch.Tensor) -> Callable:
        def call() -> torch.Tensor:
            batch.input.grad = None
            return loss(batch.input, target)

        return call

    calls = {name: on_batch(loss, target_of(name, batch)) for name, loss in losses().items()}
    calls[TRUE_TRANSFORMS] = lambda: distance_transforms(batch.target)
    calls[PRED_TRANSFORMS] = lambda: distance_transforms(batch.input.detach() >= 0)
    return {name: call for name, call in calls.items() if name not in CELLS or batch.case.name in CELL_CASES}


def loss_section(device: torch.device, repeats: int, seed: int, quick: bool) -> list[dict[str, object]]:
    """One row a case. The cases of a size take turns in every round, so that they compare as the losses do.

    The largest volume costs most and says least: two cases and a few repeats show that the ratios hold there.
    """
    section = []
    for size, names, times in (
        ("small", NAMES, repeats),
        ("medium", NAMES, repeats),
        ("large", ("60 lesions", NOISE), min(repeats, 5)),
    ):
        batches = {case.name: Batch(case, device) for case in cases(size, names, quick, seed)}
        calls = {(name, loss): call for name, batch in batches.items() for loss, call in contenders(batch).items()}
        limits = {key: min(times, 3 if size == "large" else 5) for key in calls if key[1] in SLOW}
        samples = interleaved(calls, times, device, limits)
        for name, batch in batches.items():
            known = {loss: samples[case, loss] for case, loss in samples if case == name}
            if name == "60 lesions" and size != "large":
                known[LOOPED] = _looped(batch, device)
            section.append(batch.describe() | _rows(known))
            row = section[-1]["losses"][OURS]
            print(f"losses, {size}, {name}: {row['over_dicece']['median']} times {BASELINE}", flush=True)
    return section


def _looped(batch: Batch, device: torch.device) -> Samples:
    """One call, which takes minutes on the CPU: no warm-up, no second look."""
    batch.input.grad = None
    return interleaved({LOOPED: lambda: looped_instance_loss(batch.input, batch.target)}, 1, device, warm_up=0)[LOOPED]


def _rows(samples: dict[str, Samples]) -> dict[str, object]:
    base, ours = samples[BASELINE], samples[OURS]
    rows = {}
    for name, known in samples.items():
        if name in (TRUE_TRANSFORMS, PRED_TRANSFORMS):
            continue
        if known.error:
            rows[name] = {"error": known.error}
            continue
        same_rounds = name != LOOPED
        rows[name] = {
            "forward_ms": spread(known.forward),
            "total_ms": spread(known.total),
            "over_dicece": over(known.total, base.total if same_rounds else [statistics.median(base.total)]),
            "over_instance_loss": over(known.total, ours.total if same_rounds else [statistics.median(ours.total)]),
            "repeats": len(known.total),
        }
    return {"losses": rows, "over_distance_transforms": _over_transforms(samples)}


def _over_transforms(samples: dict[str, Samples]) -> dict[str, float]:
    if TRUE_TRANSFORMS not in samples:
        return {}
    true, pred = samples[TRUE_TRANSFORMS].total, samples[PRED_TRANSFORMS].total
    both = [a + b for a, b in zip(true, pred, strict=True)]
    wanted = {"CCLoss": true, "BiCCLoss": both}
    return {name: over(samples[name].total, base)["median"] for name, base in wanted.items() if samples[name].total}
