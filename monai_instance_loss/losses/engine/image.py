"""ImageLoss: the base of the pixel losses, which score each sample's channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch.nn.modules.loss import _Loss

from monai_instance_loss.losses.engine.batch import Volume
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.reduction import checked_reduction, reduce_blocks

__all__ = ["ImageLoss"]


class ImageLoss(_Loss, ABC):
    """A loss with one value a sample's channel, on (input, target) as any MONAI loss. Source: ours; losses name theirs.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target as
    in ``monai.losses.DiceLoss``. Differentiable in ``input``.

    Args:
        include_background: as in MONAI's ``DiceLoss``: False leaves channel 0 out.
        to_onehot_y: the target is (B, 1, *spatial) class labels.
        sigmoid: ``input`` are logits of independent channels.
        softmax: ``input`` are logits of exclusive classes; each is scored against the rest.
        other_act: an activation that gives probabilities.
        ignore_index: target value of voxels to leave out, as in MONAI's ``DiceLoss``.
        reduction: ``"mean"`` or ``"sum"`` over samples and channels, or ``"none"`` for (B, C, 1, ...).

    Raises:
        TypeError, ValueError: as in ``InstanceLoss``.
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[torch.Tensor], torch.Tensor] | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=checked_reduction(reduction))
        self.inputs = InputOptions(include_background, to_onehot_y, sigmoid, softmax, other_act, ignore_index)

    @property
    def ignore_index(self) -> int | None:
        """The target value of voxels to leave out."""
        return self.inputs.ignore_index

    @abstractmethod
    def image_values(self, volume: Volume) -> torch.Tensor:
        """The loss of each sample's channel (B, C), or (B, 1) where a loss takes all classes together."""

    # what follows depends on the data at every step: one clean break in a compiled graph, instead of dozens
    @torch.compiler.disable
    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of each sample's channel, reduced."""
        return self.on_volume(Volume(self.inputs.prepare(input, target)))

    def on_volume(self, volume: Volume) -> torch.Tensor:
        """The same on a batch that is prepared already, with the options of ``inputs``."""
        if volume.target.numel() == 0:
            values = volume.prepared.probability.zero().expand(volume.shape)
        else:
            values = self.image_values(volume)
        return reduce_blocks(values, self.reduction, volume.target.ndim + 1)

    def extra_repr(self) -> str:
        """The configuration, for ``repr``."""
        options = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())
