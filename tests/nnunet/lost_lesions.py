"""How many lesions are gone on the smaller levels of an nnU-Net: by its nearest voxel, and by ``shrink_target``.

Run it: ``python tests/nnunet/lost_lesions.py --cases 1`` prints the table of ``tutorials/nnunet.md``.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F

from monai_instance_loss import Instances, label_instances
from monai_instance_loss.data import SITES, synthesize_wmh_case
from monai_instance_loss.nnunet import shrink_target


def level_steps(spacing_mm: tuple[float, ...], levels: int) -> list[tuple[int, ...]]:
    """How much smaller each level is along each axis: nnU-Net halves the axes of the finest voxels first."""
    steps = [1] * len(spacing_mm)
    found = []
    for _ in range(levels):
        now = [size * step for size, step in zip(spacing_mm, steps, strict=True)]
        steps = [step * (2 if size < 2 * min(now) else 1) for size, step in zip(now, steps, strict=True)]
        found.append(tuple(steps))
    return found


def lost(instances: Instances, level: torch.Tensor, step: tuple[int, ...]) -> int:
    """Lesions without a voxel of foreground in their place on a level."""
    seen = level > 0
    for axis, by in enumerate(step):
        seen = seen.repeat_interleave(by, 2 + axis)
    labels = instances.labels
    return instances.count - len(torch.unique(labels[(labels > 0) & seen]))


def main() -> None:
    """Print lesions, and by level those that are lost and the components that are left."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cases", type=int, default=1, help="cases of each site")
    parser.add_argument("--levels", type=int, default=4, help="levels below the full resolution")
    options = parser.parse_args()
    total: dict[str, list[list[int]]] = {"nearest voxel": [], "any voxel": []}
    lesions = 0
    for site in SITES:
        for seed in range(options.cases):
            case = synthesize_wmh_case(seed, site=site)
            mask = torch.from_numpy((case.wmh == 1).astype("float32"))[None, None]
            spacing = tuple(float(size) for size in (case.affine[:3, :3] ** 2).sum(0) ** 0.5)
            # a multiple of the largest step, as a patch is
            mask = F.pad(mask, [pad for size in reversed(mask.shape[2:]) for pad in (0, -size % 16)])
            instances = label_instances(mask)
            lesions += instances.count
            rows: dict[str, list[list[int]]] = {name: [] for name in total}
            for step in level_steps(spacing, options.levels):
                size = [part // by for part, by in zip(mask.shape[2:], step, strict=True)]
                for name, level in (
                    ("nearest voxel", F.interpolate(mask, size, mode="nearest-exact")),
                    ("any voxel", shrink_target(mask, [size])[0]),
                ):
                    rows[name].append([lost(instances, level, step), label_instances(level).count])
            for name, found in rows.items():
                before = total[name] or [[0, 0]] * len(found)
                total[name] = [[a + c, b + d] for (a, b), (c, d) in zip(before, found, strict=True)]
    print(f"{lesions} lesions")
    for name, found in total.items():
        print(name, "lost:", [a for a, _ in found], "components left:", [b for _, b in found])


if __name__ == "__main__":
    main()
