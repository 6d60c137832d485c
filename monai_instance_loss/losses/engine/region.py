"""What scores a region: sums of named maps over it, and the criteria that are functions of such sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Never, TypedDict

import torch
from torch.nn.modules.loss import _Loss

from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.eager import eager, refuse_scripting
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.reduction import checked_reduction, reduce_blocks
from monai_instance_loss.losses.engine.voxels import Map

__all__ = ["ImageLoss", "InputKeywords", "RegionLoss", "RegionSums"]


class InputKeywords(TypedDict, total=False):
    """The keywords of every ``ImageLoss``, for the signatures of those that have some of their own."""

    include_background: bool
    to_onehot_y: bool
    sigmoid: bool
    softmax: bool
    other_act: Callable[[torch.Tensor], torch.Tensor] | None
    ignore_index: int | None
    reduction: str


@dataclass(frozen=True, eq=False)
class RegionSums:
    """Sums of a criterion's maps over R regions: of some on the target's voxels, of others off them.

    Attributes:
        on: (R,) for each of ``RegionLoss.on``, summed over the region's target voxels.
        off: (R,) for each of ``RegionLoss.off``, summed over the region's other voxels.
        target_voxels: (R,) number of target voxels, those where the probability is masked to 0 included.
        voxels: (R,) number of voxels that a mean over the region is taken over, those masked to 0 included.
    """

    on: Mapping[Map, torch.Tensor]
    off: Mapping[Map, torch.Tensor]
    target_voxels: torch.Tensor
    voxels: torch.Tensor

    def balanced(self) -> RegionSums:
        """The same regions with each voxel weighed by one over the size of its side: target and rest count alike.

        Weights add up to ``voxels``, so that a mean stays a mean; a region that has one side only keeps its sums.
        """
        dtype = next(iter((*self.on.values(), *self.off.values()))).dtype
        on, voxels = self.target_voxels.to(dtype), self.voxels.to(dtype)
        both = (on > 0) & (on < voxels)
        on_weight = torch.where(both, voxels / (2 * on), 1)
        off_weight = torch.where(both, voxels / (2 * (voxels - on)), 1)
        return RegionSums(
            {name: values * on_weight for name, values in self.on.items()},
            {name: values * off_weight for name, values in self.off.items()},
            on * on_weight,
            voxels,
        )


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
        ignore_index: target value of voxels to leave out.
        reduction: ``"mean"`` or ``"sum"`` over samples and channels, or ``"none"`` for (B, C, 1, ...).

    Raises:
        TypeError: an unknown keyword, an ``other_act`` that is not callable; on call, an argument that is no tensor, or
            of the wrong type.
        ValueError: more than one activation, an unknown ``reduction``; on call, shapes or class counts that do not fit,
            a target that is not binary (or class labels), probabilities outside [0, 1].
    """

    def __init__(
        self,
        *,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[torch.Tensor], torch.Tensor] | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        **unknown: Never,
    ) -> None:
        if unknown:
            # Python would blame the base class
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {next(iter(unknown))!r}.")
        super().__init__(reduction=checked_reduction(reduction))
        self.inputs = InputOptions(include_background, to_onehot_y, sigmoid, softmax, other_act, ignore_index)

    __prepare_scriptable__ = refuse_scripting

    @property
    def ignore_index(self) -> int | None:
        """The target value of voxels to leave out."""
        return self.inputs.ignore_index

    @abstractmethod
    def image_values(self, batch: Batch) -> torch.Tensor:
        """The loss of each sample's channel (B, C), or (B, 1) where a loss takes all classes together."""

    # what follows depends on the data at every step: one clean break in a compiled graph, instead of dozens
    @eager
    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of each sample's channel, reduced."""
        return self.on_batch(self.inputs.prepare(input, target))

    def on_batch(self, batch: Batch) -> torch.Tensor:
        """The same on a batch that is read already, with the options of ``inputs``."""
        empty = batch.target.numel() == 0
        values = batch.zero().expand(batch.shape[:2]) if empty else self.image_values(batch)
        return reduce_blocks(values, self.reduction, len(batch.shape))

    def extra_repr(self) -> str:
        """The configuration, for ``repr``."""
        options = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())


class RegionLoss(ImageLoss):
    """A segmentation criterion that needs only sums over a region: some maps of p, and a function of their sums.

    Called on (input, target) it is an ordinary MONAI loss, with each sample's channel as a region; given to an instance
    loss as its criterion it scores every region of the batch in one pass. A subclass names its maps and scores sums of
    them:

    - ``on``: the maps whose sums over a region's target voxels it needs; ``off``: those over its other voxels. A map is
      ``"p"``, ``"ce_on"`` (-log p) or ``"ce_off"`` (-log(1 - p)), or a function of ``Voxels``.
    - A map in ``off`` is 0 at p = 0, so that voxels outside a region add nothing. A target voxel outside a region adds
      nothing to any map.

    Source: ours; the criteria name theirs. Shapes, types, arguments and errors are those of any ``ImageLoss``:
    ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``, ``ignore_index``, ``reduction``.
    Differentiable in ``input``.

    Example:
        >>> class FalsePositiveRate(RegionLoss):
        ...     on, off = (), ("p",)
        ...
        ...     def score(self, sums):
        ...         return sums.off["p"] / (sums.voxels - sums.target_voxels).clamp(min=1)
        >>> p, y = torch.tensor([[[[0.5, 0.5, 0.0]]]]), torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> float(FalsePositiveRate()(p, y))
        0.25
    """

    @property
    def on(self) -> tuple[Map, ...]:
        """The maps whose sums over the target ``score`` needs."""
        return ("p",)

    @property
    def off(self) -> tuple[Map, ...]:
        """The maps whose sums off the target ``score`` needs."""
        return ("p",)

    @abstractmethod
    def score(self, sums: RegionSums) -> torch.Tensor:
        """The criterion's value (R,) on each of R regions."""

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The value (R,) on regions without target, by default their presence (R,): an overlap is flat there."""
        return presence

    def score_background(self, sums: RegionSums) -> torch.Tensor:
        """The value (R,) on images whose target is the background of exclusive classes; by default any other class's.

        A loss that weighs the target's voxels overrides it: the weight belongs to the foreground, which here is what is
        off the target.
        """
        return self.score(sums)

    def score_image(self, sums: RegionSums, channels: int, has_background: bool) -> torch.Tensor:
        """Values (B, channels) of the channels of B samples, or (B, 1) where a loss takes all classes together.

        ``has_background`` tells that channel 0 is the background of the others.
        """
        values = self.score(sums).view(-1, channels)
        if not has_background:
            return values
        return torch.cat([self.score_background(sums).view(-1, channels)[:, :1], values[:, 1:]], 1)

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The criterion on each sample's channel."""
        sums = RegionSums(*batch.sums(self.on, self.off), batch.target_voxels, batch.voxels_per_block)
        return self.score_image(sums, batch.shape[1], self.inputs.has_background(batch.shape[1]))
