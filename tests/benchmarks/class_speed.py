"""InstanceLoss of many classes over MONAI's DiceCELoss of the same flags: time, and peak memory in a process each.

python tests/benchmarks/class_speed.py --classes 28 --moment "2 % noise" --form labels --loss InstanceLoss
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import NamedTuple

import torch
import torch.nn.functional as F
from loss_speed import BASELINE, OURS
from memory import MAP_BYTES, resident_peak
from monai.losses import DiceCELoss
from timing import interleaved, over, spread

from monai_instance_loss.losses import InstanceLoss

# classes and the side of a volume: one that a patch-based network trains on, smaller for the 133 of a whole brain
SIDES = {3: 64, 14: 64, 28: 64, 133: 32}
MOMENTS = ("2 % noise", "untrained")
# class labels and one-hot targets of a softmax, and channels of a sigmoid
FORMS = ("labels", "one-hot", "sigmoid")


class ClassCase(NamedTuple):
    """How many classes, in which moment of a training, and in which form the target comes."""

    classes: int
    moment: str
    form: str
    side: int
    seed: int

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and target: balls of each class; confident with 2 % of the voxels at random, or noise about 0."""
        generator = torch.Generator().manual_seed(self.seed)
        labels = torch.zeros(1, 1, *[self.side] * 3)
        for _ in range(max(60, self.classes)):
            radius = int(torch.randint(1, max(2, self.side // 13), (), generator=generator))
            low = torch.randint(0, self.side - 2 * radius, (3,), generator=generator).tolist()
            where = (0, 0, *(slice(start, start + 2 * radius) for start in low))
            labels[where] = float(torch.randint(1, self.classes, (), generator=generator))
        shape = (1, self.classes, *labels.shape[2:])
        if self.moment == "untrained":
            input = 0.1 * torch.randn(shape, generator=generator)
        else:
            wrong = torch.rand(labels.shape, generator=generator) < 0.02
            guessed = torch.randint(0, self.classes, labels.shape, generator=generator).float()
            shown = _one_hot(torch.where(wrong, guessed, labels), self.classes)
            input = 10 * shown + torch.randn(shape, generator=generator) - (5 if self.form == "sigmoid" else 0)
        return input.requires_grad_(), labels if self.form == "labels" else _one_hot(labels, self.classes)

    def losses(self) -> dict[str, torch.nn.Module]:
        """Both losses, with the same flags."""
        flags = {"sigmoid": True} if self.form == "sigmoid" else {"softmax": True}
        flags["to_onehot_y"] = self.form == "labels"
        return {BASELINE: DiceCELoss(**flags), OURS: InstanceLoss(**flags)}


def class_section(device: torch.device, repeats: int, threads: int, seed: int, quick: bool) -> list[dict[str, object]]:
    """One row a number of classes, moment and form."""
    section = []
    for classes, side in ({3: 12} if quick else SIDES).items():
        for moment in MOMENTS:
            for form in FORMS:
                case = ClassCase(classes, moment, form, side, seed)
                # the form of the target hardly changes the memory, which takes two processes to measure
                memory = _memory(case, threads) if form == "labels" else {}
                section.append(case._asdict() | _ratios(case, device, repeats) | memory)
                print(
                    f"classes, {classes}, {moment}, {form}: {section[-1]['time']['median']} times", memory, flush=True
                )
    return section


def _ratios(case: ClassCase, device: torch.device, repeats: int) -> dict[str, object]:
    input, target = (values.to(device).detach() for values in case.tensors())
    input.requires_grad_()

    def on_case(loss: torch.nn.Module):
        def call() -> torch.Tensor:
            input.grad = None
            return loss(input, target)

        return call

    samples = interleaved({name: on_case(loss) for name, loss in case.losses().items()}, repeats, device)
    return {
        "dicece_ms": spread(samples[BASELINE].total),
        "time": over(samples[OURS].total, samples[BASELINE].total),
    }


def _memory(case: ClassCase, threads: int) -> dict[str, object]:
    maps = {}
    for name in case.losses():
        command = [sys.executable, __file__, "--threads", str(threads), "--loss", name]
        command += [part for field, value in case._asdict().items() for part in (f"--{field}", str(value))]
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        maps[name] = json.loads(done.stdout.strip().splitlines()[-1])["peak_maps"]
    return {"peak_maps": maps, "memory": round(maps[OURS] / maps[BASELINE], 2)}


def _one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return F.one_hot(labels[:, 0].long(), classes).movedim(-1, 1).float().contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", choices=(BASELINE, OURS), required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--moment", choices=MOMENTS, required=True)
    parser.add_argument("--form", choices=FORMS, required=True)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    case = ClassCase(options.classes, options.moment, options.form, options.side, options.seed)
    (input, target), loss = case.tensors(), case.losses()[options.loss]

    def step() -> None:
        input.grad = None
        loss(input, target).backward()

    step()
    input.grad = None
    print(json.dumps({"peak_maps": round(resident_peak(step) / (MAP_BYTES * input.numel()), 2)}))


if __name__ == "__main__":
    main()
