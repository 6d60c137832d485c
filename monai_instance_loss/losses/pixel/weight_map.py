"""A map of weights over the voxels, for any loss that has one value a voxel."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import CrossEntropyLoss
from torch.nn.modules.loss import _Loss

from monai_instance_loss.losses.engine.options import check_tensors
from monai_instance_loss.losses.engine.reduction import checked_reduction, reduce_blocks
from monai_instance_loss.losses.engine.target import value_range

__all__ = ["WeightMapLoss"]


class WeightMapLoss(_Loss):
    """A loss l of single voxels times a map w of weights, mean of w * l; its range is that of l, times the weights.

    Source: Ronneberger et al., U-Net, MICCAI 2015, eq. 1, with a mean for the paper's sum, which is
    ``reduction="sum"``. The mean is sum(w l) over the number of values, as in torch's ``BCEWithLogitsLoss(weight)``,
    and not over sum(w): a map twice as large is a loss twice as large.

    The map is the last channel of the target, whatever comes before it being what the loss takes, so that a trainer
    which calls ``loss(pred, label)`` needs nothing new. ``InstanceWeightMapd("label", output_keys="weight")`` makes it,
    and MONAI's ``ConcatItemsd(["label", "weight"], name="label")`` puts it there. A voxel of weight 0 is left out. It
    is not for an instance loss, whose target has no weights.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target
    (B, L + 1, *spatial), any type, L channels that the loss takes and one of weights. torch's ``CrossEntropyLoss`` gets
    one channel of class labels as integers (B, *spatial). Differentiable in ``input``.

    Args:
        loss: called on (input, labels), with one value a voxel, (B, C, *spatial) or (B, *spatial): torch's
            ``BCEWithLogitsLoss``, ``CrossEntropyLoss`` and MONAI's ``FocalLoss`` with ``reduction="none"``, or any
            function. Losses that score an image, such as Dice, have none.
        reduction: ``"mean"`` or ``"sum"`` over voxels, channels and samples, or ``"none"`` for what the loss has.

    Raises:
        TypeError: a ``loss`` that is not callable; on call, an input that is no float tensor, a target that is no
            tensor.
        ValueError: a ``loss`` with another reduction than ``"none"``, an unknown ``reduction``; on call, shapes that do
            not fit, weights that are not finite and 0 or more, a loss that does not have one value a voxel.

    Example:
        >>> label, weight = torch.tensor([[[[1.0, 0.0, 0.0]]]]), torch.tensor([[[[3.0, 1.0, 0.5]]]])
        >>> loss = WeightMapLoss(torch.nn.BCEWithLogitsLoss(reduction="none"))
        >>> value = loss(torch.zeros(1, 1, 1, 3), torch.cat([label, weight], 1))
        >>> round(float(value), 4)  # (3 + 1 + 0.5) * log 2 / 3
        1.0397
    """

    def __init__(self, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], *, reduction: str = "mean") -> None:
        super().__init__(reduction=checked_reduction(reduction))
        if not callable(loss):
            raise TypeError(f"Expected `loss` to be a loss on (input, target), but got {type(loss).__name__}.")
        reduced = getattr(loss, "reduction", "none")
        if reduced != "none":
            raise ValueError(
                f'Expected `loss` to have reduction="none", but got {type(loss).__name__} with {reduced!r}.'
            )
        self.loss = loss

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The weighted loss of voxels, reduced."""
        check_tensors(input, target)
        if target.shape[1] < 2 or (target.shape[0], *target.shape[2:]) != (input.shape[0], *input.shape[2:]):
            raise ValueError(
                "Expected `target` to have shape (B, L + 1, *spatial), labels and then weights, for an input of shape "
                f"{tuple(input.shape)}, but got {tuple(target.shape)}."
            )
        dtype = torch.promote_types(input.dtype, torch.float32)
        input, target = input.as_subclass(torch.Tensor).to(dtype), target.as_subclass(torch.Tensor).to(dtype)
        labels, weight = target[:, :-1], _checked(target[:, -1:])
        return reduce_blocks(self._of_voxels(input, labels) * weight, self.reduction, 2)

    def _of_voxels(self, input: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Values (B, C, *spatial) or (B, 1, *spatial) of the loss."""
        of_classes = isinstance(self.loss, CrossEntropyLoss) and labels.shape[1] == 1
        values = self.loss(input, labels[:, 0].long() if of_classes else labels)
        if values.ndim == input.ndim - 1:
            values = values.unsqueeze(1)
        if values.ndim != input.ndim or (values.shape[0], *values.shape[2:]) != (input.shape[0], *input.shape[2:]):
            raise ValueError(
                f"Expected `loss` to have one value a voxel of an input of shape {tuple(input.shape)}, but got values "
                f"of shape {tuple(values.shape)}."
            )
        return values


def _checked(weight: torch.Tensor) -> torch.Tensor:
    if weight.numel():
        low, high = map(float, torch.aminmax(weight))
        if not (low >= 0 and high < math.inf):
            raise ValueError(
                "Expected weights, the last channel of `target`, to be finite and 0 or more, but got "
                f"{value_range(weight)}."
            )
    return weight
