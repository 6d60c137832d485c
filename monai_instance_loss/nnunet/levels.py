"""LevelsLoss: a loss on the outputs of all levels of an nnU-Net, each with its own voxel size and target."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_instance_loss.losses.deep_supervision import DeepSupervisionLoss
from monai_instance_loss.nnunet.labels import Labels
from monai_instance_loss.nnunet.shrinking import shrink_target

__all__ = ["LevelsLoss"]

Levels = torch.Tensor | Sequence[torch.Tensor]


class LevelsLoss(torch.nn.Module):
    """A loss on every level of an nnU-Net: the weighted sum over the levels, in the range of the loss.

    Source: nnU-Net v2, ``DeepSupervisionWrapper``. Two things differ. A level of 1/2 the size has voxels of twice the
    size, for the loss and for every loss inside it. And no lesion is lost on the way down: the targets of the levels
    are made of the one in full resolution by ``shrink_target``, not of nnU-Net's own smaller ones, on which small
    lesions are missing. A level of weight 0 is not computed.

    Shapes: outputs a list of (B, C, *spatial), the full resolution first, or that alone as a tensor; any float type,
    computed in float32. Targets as nnU-Net makes them, a list or a tensor, of which only the first is read.
    Differentiable in ``outputs``.

    Args:
        loss: the loss of a level, on outputs and on what ``Labels.target`` returns.
        weights: one weight a level, 0 or more.
        labels: how targets are laid out; None is plain labels.

    Attributes:
        last_output: logits of the full resolution of the last call, where that was without gradient, as in validation;
            None after a training step.

    Raises:
        ValueError: another number of outputs than of weights; what the loss raises.

    Example:
        >>> from monai_instance_loss.losses import CCLoss
        >>> labels = Labels()
        >>> loss = LevelsLoss(CCLoss(**labels.flags, spacing_mm=(3, 1)), [2 / 3, 1 / 3], labels)
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 2, 3] = 1
        >>> outputs = [torch.zeros(1, 2, 8, 8, requires_grad=True), torch.zeros(1, 2, 4, 4, requires_grad=True)]
        >>> loss(outputs, [target, target[..., ::2, ::2]]).backward()
        >>> all(level.grad.abs().sum() > 0 for level in outputs)
        True
    """

    last_output: torch.Tensor | None

    def __init__(self, loss: torch.nn.Module, weights: Sequence[float] = (1.0,), labels: Labels | None = None) -> None:
        super().__init__()
        self.levels = DeepSupervisionLoss(loss)
        self.weights = tuple(map(float, weights))
        self.labels = Labels() if labels is None else labels
        self.last_output = None

    def forward(self, outputs: Levels, targets: Levels) -> torch.Tensor:
        """The weighted sum over the levels, a scalar with graph."""
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        if len(outputs) != len(self.weights):
            raise ValueError(f"Expected `outputs` to be of {len(self.weights)} levels, but got {len(outputs)}.")
        target = self.labels.target(targets if isinstance(targets, torch.Tensor) else targets[0])
        self.last_output = None if torch.is_grad_enabled() else outputs[0]
        used = [(weight, level) for weight, level in zip(self.weights, outputs, strict=True) if weight]
        parts = shrink_target(target, [level.shape[2:] for _, level in used], self.labels.ignore_index)
        values = [
            weight * self.levels.at_size(level.shape[2:], target.shape[2:])(level.float(), part)
            for (weight, level), part in zip(used, parts, strict=True)
        ]
        return torch.stack(values).sum()
