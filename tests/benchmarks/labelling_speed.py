"""Labelling of masks: ours, and what else a user could call."""

from __future__ import annotations

import importlib.util
import itertools
import statistics
from collections.abc import Callable

import cc3d
import numpy as np
import torch
from cases import NAMES, NOISE, Batch, cases
from peers import PASSES, max_pooling_labels
from scipy import ndimage
from timing import interleaved, over, spread

from monai_instance_loss import label_instances

OURS = "label_instances"
POOLING = f"max pooling, {PASSES} passes"
COPY = "copy of mask and labels"
CUPY = "CuPy"
KORNIA = f"kornia (slices only, {PASSES} passes)"


def contenders(mask: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Name to a call that labels a bool mask (B, 1, *spatial) with full connectivity; the slow ones last.

    Libraries for arrays on the host pay for the way there and back, as they do in a training step.
    """
    labels = label_instances(mask).labels
    structure = np.ones((3, 3, 3), bool)

    def on_host(label: Callable[[np.ndarray], np.ndarray]) -> Callable[[], object]:
        def call() -> list[torch.Tensor]:
            return [
                torch.from_numpy(label(volume).astype(np.int32, copy=False)).to(mask.device)
                for volume in mask.flatten(0, 1).cpu().numpy()
            ]

        return call

    calls: dict[str, Callable[[], object]] = {
        OURS: lambda: label_instances(mask).labels,
        # a loss looks at the foreground only, and has no need of the map
        f"{OURS}, map not written": lambda: label_instances(mask),
        COPY: lambda: (mask.clone(), labels.clone()),
        "cc3d": on_host(lambda volume: cc3d.connected_components(volume, connectivity=26, binary_image=True)),
        "scipy": on_host(lambda volume: ndimage.label(volume, structure)[0]),
    }
    if importlib.util.find_spec("skimage"):
        from skimage.measure import label

        calls["scikit-image"] = on_host(lambda volume: label(volume, connectivity=3))
    if mask.is_cuda and importlib.util.find_spec("cupyx"):
        import cupy
        from cupyx.scipy.ndimage import label as cupy_label

        ones = cupy.ones((3, 3, 3), dtype=bool)
        calls[CUPY] = lambda: [cupy_label(cupy.asarray(volume), ones)[0] for volume in mask.flatten(0, 1)]
    if importlib.util.find_spec("kornia"):
        from kornia.contrib import connected_components

        slices = mask.flatten(0, 2)[:, None].float()
        calls[KORNIA] = lambda: connected_components(slices, num_iterations=PASSES)
    calls[POOLING] = lambda: max_pooling_labels(mask)
    return calls


def labelling_section(device: torch.device, repeats: int, seed: int, quick: bool) -> list[dict[str, object]]:
    """Milliseconds of each contender on the targets, and on the prediction that is noise."""
    section = []
    for case in itertools.chain(*(cases(size, NAMES, quick, seed) for size in ("small", "medium", "large"))):
        batch = Batch(case, device)
        mask = batch.predicted if case.name == NOISE else batch.target > 0
        calls = contenders(mask)
        # hundreds of passes over the volume: seconds on the small one, on the CPU minutes on the large one
        pooling = {name: calls.pop(name) for name in (KORNIA, POOLING) if name in calls}
        limits = {name: min(repeats, 5) for name in ("scipy", "scikit-image")}
        samples = interleaved(calls, repeats, device, limits)
        if case.name == "60 lesions" and (case.size != "large" or mask.is_cuda):
            if case.size == "medium" and not mask.is_cuda:
                # its indexing makes it several times slower than the plain passes
                pooling.pop(KORNIA, None)
            samples |= interleaved(pooling, 1, device, warm_up=0)
        ours = samples[OURS].total
        rows = {}
        for name, known in samples.items():
            if known.error:
                rows[name] = {"error": known.error}
                continue
            once = name in pooling
            ratios = over(known.total, [statistics.median(ours)] if once else ours)
            rows[name] = {"ms": spread(known.total), "over_ours": ratios, "repeats": len(known.total)}
        section.append(batch.describe() | {"methods": rows})
        print(f"labelling, {case.size}, {case.name}: {rows[OURS]['ms']['median']} ms", flush=True)
    return section
