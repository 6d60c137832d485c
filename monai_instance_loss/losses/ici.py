"""ICILoss and InstanceCenterLoss: the losses that InstanceLoss grew from, with fewer terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch

from monai_instance_loss.losses.instance import InstanceLoss
from monai_instance_loss.losses.terms import FDR

__all__ = ["ICILoss", "ICILossTerms", "InstanceCenterLoss", "InstanceCenterLossTerms"]


class InstanceCenterLossTerms(NamedTuple):
    """The unweighted terms of ``InstanceCenterLoss``, scalars with graph."""

    pixel: torch.Tensor
    instance: torch.Tensor
    instance_pred: torch.Tensor
    center: torch.Tensor
    false: torch.Tensor
    missed: torch.Tensor


class ICILossTerms(NamedTuple):
    """The unweighted terms of ``ICILoss``, scalars with graph."""

    pixel: torch.Tensor
    instance: torch.Tensor
    center: torch.Tensor
    fdr: torch.Tensor
    false: torch.Tensor
    missed: torch.Tensor


class InstanceCenterLoss(InstanceLoss):
    """Instance loss without the proximity term, 0 or more; pixel, both instance terms and center weigh 1.

    $$L = L_{pixel} + L_{instance} + L_{pred} + L_{center}$$

    and, with ``weights``, L_false and L_missed: terms of ``InstanceLoss``, the first three as in its formula. L_center
    is the criterion on maps of equal boxes around the centres of mass.

    Source: Rachmadi, Byra, Skibbe, Comput. Biol. Med. 174 (2024) 108414. The arguments are those of ``InstanceLoss``
    but for ``proximity`` and ``box_distance``.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, half precision is computed in float32; target the
    same shape, binary, or (B, 1, *spatial) labels with ``to_onehot_y``, or an instance map with
    ``target_is_instances``. The result is a scalar. Differentiable in ``input``; components, regions, boxes and
    presence weights are held fixed.

    Raises:
        TypeError: an argument that should be callable, a tensor or a mapping is not.
        ValueError: an unknown option or weight, a negative weight, a threshold outside (0, 1); on call: shapes or class
            counts that do not fit, a target that is not binary (or class labels, or whole numbers), probabilities
            outside [0, 1], a pixel loss that does not return one number.

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = 1
        >>> InstanceCenterLoss().terms(target, target)._fields
        ('pixel', 'instance', 'instance_pred', 'center', 'false', 'missed')
        >>> round(float(InstanceCenterLoss()(target, target)), 4)
        0.0
    """

    terms_type: ClassVar[type[Any]] = InstanceCenterLossTerms
    default_weights = MappingProxyType({"pixel": 1.0, "instance": 1.0, "instance_pred": 1.0, "center": 1.0})

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[torch.Tensor], torch.Tensor] | None = None,
        pixel_loss: torch.nn.Module | None = None,
        instance_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        center_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        weights: Mapping[str, float] | None = None,
        threshold: float = 0.1,
        connectivity: int | None = None,
        center_radius: int = 3,
        min_instance_size: int = 0,
        exclude_other_tp: bool = True,
        count_as_rate: bool = True,
        instance_reduction: Literal["mean", "sum"] = "mean",
        average_over: Literal["instance", "sample"] = "instance",
        ignore_index: int | None = None,
        target_is_instances: bool = False,
        reduction: str = "mean",
    ) -> None:
        options: dict[str, Any] = {
            name: value for name, value in locals().items() if name not in ("self", "__class__", "options")
        }
        super().__init__(**options)


class ICILoss(InstanceCenterLoss):
    """ICI loss, 0 or more: a pixel, an instance and a center term, at 1/4, 1/2 and 1/4 by default.

    $$L = a L_{pixel} + b L_{instance} + c L_{center}$$

    L_instance is the mean, over the true instances, of the criterion on each of them united with the predicted ones
    that touch it; L_center is the criterion on maps of equal boxes around the centres of mass.

    Source: Rachmadi, Poon, Skibbe, MIDL 2023, arXiv 2304.06229; the weights are its best. It also reports a pixel-wise
    false discovery rate, which as a term is 1 - TP / (TP + FP) on the probabilities, 0 for a sample without predicted
    instance. The arguments are those of ``InstanceLoss`` but for ``proximity`` and ``box_distance``.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, half precision is computed in float32; target the
    same shape, binary, or (B, 1, *spatial) labels with ``to_onehot_y``, or an instance map with
    ``target_is_instances``. The result is a scalar. Differentiable in ``input``; components, regions, boxes and
    presence weights are held fixed.

    Raises:
        TypeError: an argument that should be callable, a tensor or a mapping is not.
        ValueError: an unknown option or weight, a negative weight, a threshold outside (0, 1); on call: shapes or class
            counts that do not fit, a target that is not binary (or class labels, or whole numbers), probabilities
            outside [0, 1], a pixel loss that does not return one number.

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = 1
        >>> prediction = target.clone()
        >>> prediction[0, 0, 5:7, 5:7] = 1
        >>> round(float(ICILoss().terms(prediction, target).fdr), 4)  # 4 of 8 predicted pixels are false
        0.5
    """

    terms_type: ClassVar[type[Any]] = ICILossTerms
    default_weights = MappingProxyType({"pixel": 0.25, "instance": 0.5, "center": 0.25})
    instance_terms = MappingProxyType({**InstanceLoss.instance_terms, "fdr": FDR})
