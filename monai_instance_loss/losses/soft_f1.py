"""SoftInstanceF1Loss: the lesion F1 that is reported, as the number that is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch

from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.reduction import Averaging
from monai_instance_loss.losses.terms import SOFT_F1, OverlapLoss

__all__ = ["SoftInstanceF1Loss", "SoftInstanceF1LossTerms"]


class SoftInstanceF1LossTerms(NamedTuple):
    """The unweighted terms of ``SoftInstanceF1Loss``, scalars with graph."""

    pixel: torch.Tensor
    instance: torch.Tensor


class SoftInstanceF1Loss(OverlapLoss):
    """One minus the soft instance F1, in [0, 1], and a pixel loss where it is given a weight.

    $$L = 1 - 2 P R / (P + R)$$

    With the presence q of each instance, the precision P is the sum of q over touching predictions / sum of q over all,
    and the recall R is the mean of q over true instances.

    Source: ours. On binary predictions it is 1 - the lesion F1 of the WMH Segmentation Challenge, which is what
    ``InstanceF1Metric`` reports: the mean over samples and classes that have an instance on either side (0 if none
    has). Alone it can be unsteady: ``weights={"pixel": 1}`` adds the pixel loss.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type; target as in ``monai.losses.DiceLoss``. The result is
    a scalar; ``terms`` gives (pixel, instance). Differentiable in ``input``; components and presence weights are held
    fixed.

    Args:
        include_background: as in MONAI's ``DiceLoss``.
        to_onehot_y: the target is (B, 1, *spatial) class labels.
        sigmoid: ``input`` are logits of independent channels.
        softmax: ``input`` are logits of exclusive classes.
        other_act: an activation that gives probabilities.
        pixel_loss: any MONAI or torch loss; gets ``input`` and ``target`` untouched and so carries its own activation.
            Default: Dice + cross-entropy for ``sigmoid`` and ``softmax``, Dice otherwise.
        weights: term name to weight, 0 or more; default pixel 0, instance 1.
        threshold: predicted instances are components of p >= ``threshold``; in (0, 1).
        connectivity: as in ``label_instances``; None is full.
        min_instance_size: instances of this many voxels or fewer are not scored; they still touch.
        ignore_index: target value of voxels to leave out.
        target_is_instances: the target is an instance map; see ``transforms.LabelInstancesd``.
        reduction: ``"mean"`` or ``"sum"`` over the samples.

    Raises:
        TypeError: an argument that should be callable, a tensor or a mapping is not.
        ValueError: an unknown option or weight, a negative weight, a threshold outside (0, 1); on call: shapes or class
            counts that do not fit, a target that is not binary (or class labels, or whole numbers), probabilities
            outside [0, 1], a pixel loss that does not return one number.

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = target[0, 0, 5:7, 5:7] = 1
        >>> prediction = torch.zeros(1, 1, 8, 8)
        >>> prediction[0, 0, 1, 1] = 1
        >>> round(float(SoftInstanceF1Loss()(prediction, target)), 4)  # precision 1, recall 1/2
        0.3333
    """

    terms_type = SoftInstanceF1LossTerms
    default_weights = MappingProxyType({"instance": 1.0})
    instance_terms = MappingProxyType({"instance": SOFT_F1})

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[torch.Tensor], torch.Tensor] | None = None,
        pixel_loss: torch.nn.Module | None = None,
        weights: Mapping[str, float] | None = None,
        threshold: float = 0.1,
        connectivity: int | None = None,
        min_instance_size: int = 0,
        ignore_index: int | None = None,
        target_is_instances: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            InputOptions(
                include_background, to_onehot_y, sigmoid, softmax, other_act, ignore_index, target_is_instances
            ),
            Averaging("mean", "sample", reduction),
            pixel_loss,
            weights,
            connectivity,
            threshold,
            min_instance_size,
        )
