"""BlobLoss, and what it shares with the losses on cells: a pixel loss, and a criterion on a region an instance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypedDict, cast

import torch

from monai_instance_loss.instances import Instances
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.overlap import InstanceScores
from monai_instance_loss.losses.engine.reduction import Averaging
from monai_instance_loss.losses.engine.region import RegionLoss
from monai_instance_loss.losses.pixel.adapters import as_criterion
from monai_instance_loss.losses.pixel.compound import DiceCERegionLoss
from monai_instance_loss.losses.terms.base import TermsLoss
from monai_instance_loss.losses.terms.regions import blob_scores

__all__ = ["BlobLoss", "PixelInstanceTerms", "PixelInstanceWeights", "RegionPerInstanceLoss"]


class PixelInstanceTerms(NamedTuple):
    """The unweighted terms of ``BlobLoss``, ``CCLoss`` and ``BiCCLoss``, scalars with graph."""

    pixel: torch.Tensor
    instance: torch.Tensor


class PixelInstanceWeights(TypedDict, total=False):
    """The weights that ``BlobLoss``, ``CCLoss`` and ``BiCCLoss`` take, any of them."""

    pixel: float
    instance: float


class RegionPerInstanceLoss(TermsLoss):
    """Arguments that the losses of this file share; see ``BlobLoss``."""

    terms_type = PixelInstanceTerms
    default_weights = MappingProxyType({"pixel": 1.0, "instance": 1.0})

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[torch.Tensor], torch.Tensor] | None = None,
        pixel_loss: torch.nn.Module | None = None,
        instance_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        weights: PixelInstanceWeights | None = None,
        connectivity: int | None = None,
        instance_reduction: Literal["mean", "sum"] = "mean",
        average_over: Literal["instance", "sample"] = "sample",
        ignore_index: int | None = None,
        target_is_instances: bool = False,
        inverse_size_weighting: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            InputOptions(
                include_background, to_onehot_y, sigmoid, softmax, other_act, ignore_index, target_is_instances
            ),
            Averaging(instance_reduction, average_over, reduction),
            pixel_loss,
            cast("Mapping[str, float] | None", weights),
            connectivity,
        )
        self.instance_loss = (
            self._default_criterion() if instance_loss is None else as_criterion("instance_loss", instance_loss)
        )
        if inverse_size_weighting and not isinstance(self.instance_loss, RegionLoss):
            raise ValueError(
                "Expected `inverse_size_weighting` to be False for an `instance_loss` that is no RegionLoss, but got "
                f"True for {type(instance_loss).__name__}."
            )
        self.inverse_size_weighting = inverse_size_weighting

    def _default_criterion(self) -> RegionLoss:
        return DiceCERegionLoss()

    @abstractmethod
    def _term(self, batch: Batch, true: Instances) -> torch.Tensor:
        """The instance term."""

    def _instance_values(self, batch: Batch, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        return {"instance": self._term(batch, batch.label_target(self.connectivity))}

    def _averaged(self, scores: InstanceScores, *sides: Instances) -> torch.Tensor:
        batch, channels = sides[0].shape[:2]
        present = torch.zeros(channels, dtype=torch.bool, device=scores.block.device)
        for side in sides:
            present[side.channel] = True
        present = present if bool(present.any()) else ~present
        return self.averaging.instances(scores.total, scores.count, (batch, channels), present)


class BlobLoss(RegionPerInstanceLoss):
    r"""Blob loss, 0 or more: a pixel loss, and a criterion on each lesion with all other lesions masked out.

    $$L = \alpha L_{pixel} + \beta (1 / K) \sum_i c(p_{B_i}, G_i)$$

    The G_i are the K lesions, B_i is the volume without all lesions but G_i, c is the criterion; alpha and beta are
    ``weights``.

    Source: Kofler et al., *blob loss*, IPMI 2023, arXiv 2205.08209; several classes one-vs-rest as in Kundu et al.,
    CVPRW 2026, arXiv 2604.24276, averaged over the classes with an instance in the batch. Two things differ from the
    authors' code. A sample without lesions counts as one instance here, with the criterion on all of it; there it is
    left out. The pixel loss and the lesions weigh 1 each here; there the weights are given with each use.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, half precision is computed in float32; target the
    same shape, binary, or (B, 1, *spatial) labels with ``to_onehot_y``. The result is a scalar; ``terms`` gives (pixel,
    instance). Differentiable in ``input``; components are held fixed.

    Args:
        include_background: False leaves channel 0 out (of the instance term and of the default pixel loss).
        to_onehot_y: the target is (B, 1, *spatial) class labels.
        sigmoid: ``input`` are logits of independent channels.
        softmax: ``input`` are logits of exclusive classes.
        other_act: an activation that gives probabilities.
        pixel_loss: any MONAI or torch loss; gets ``input`` and ``target`` untouched and so carries its own activation.
            Default: Dice + cross-entropy for ``sigmoid`` and ``softmax``, Dice otherwise.
        instance_loss: the criterion on a region, a loss on probabilities and a binary target. Default: Dice +
            cross-entropy. A ``RegionLoss``, or a MONAI or torch loss that ``as_criterion`` can turn into one,
            scores all regions in one pass; any other callable is called once an instance on a whole volume, 0 outside
            the region, which is slow.
        weights: term name to weight, 0 or more; default 1 each.
        connectivity: as in ``label_instances``; None is full.
        instance_reduction: ``"mean"`` or ``"sum"`` over the lesions of a sample, with ``average_over="sample"``.
        average_over: ``"sample"``, as the paper does, or ``"instance"``.
        ignore_index: target value of voxels to leave out.
        target_is_instances: the target is an instance map (see ``transforms.LabelInstancesd``).
        inverse_size_weighting: in each region, weigh the voxels of the lesion and all others by one over their number,
            so that both count alike however small the lesion is; not in the paper.
        reduction: ``"mean"`` or ``"sum"`` over the batch.

    Raises:
        TypeError: an argument that should be callable, a tensor or a mapping is not.
        ValueError: an unknown option or weight, a negative weight; on call: shapes or class counts that do not
            fit, a target that is not binary (or class labels, or whole numbers), probabilities outside [0, 1].

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = target[0, 0, 5:7, 5:7] = 1
        >>> logits = 20 * target - 10
        >>> round(float(BlobLoss(sigmoid=True)(logits, target)), 2)
        0.0
    """

    def _term(self, batch: Batch, true: Instances) -> torch.Tensor:
        return self._averaged(blob_scores(batch, true, self.instance_loss, self.inverse_size_weighting), true)
