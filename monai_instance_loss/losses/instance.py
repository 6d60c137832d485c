"""InstanceLoss: pixel, instance, center, false, missed and proximity terms in one loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypedDict, cast

import torch

from monai_instance_loss._checks import checked_choice, checked_count
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.reduction import Averaging
from monai_instance_loss.losses.pixel.adapters import as_criterion
from monai_instance_loss.losses.terms import (
    CENTER,
    FALSE,
    INSTANCE,
    INSTANCE_PRED,
    MISSED,
    PROXIMITY,
    OverlapLoss,
    Term,
)

__all__ = ["InstanceLoss", "InstanceLossTerms", "InstanceLossWeights"]


class InstanceLossTerms(NamedTuple):
    """The unweighted terms of ``InstanceLoss``, scalars with graph, in the order of the published code."""

    pixel: torch.Tensor
    instance: torch.Tensor
    instance_pred: torch.Tensor
    center: torch.Tensor
    false: torch.Tensor
    missed: torch.Tensor
    proximity: torch.Tensor


class InstanceLossWeights(TypedDict, total=False):
    """The weights that ``InstanceLoss`` takes, any of them; a mistyped name is an error that a type checker sees."""

    pixel: float
    instance: float
    instance_pred: float
    center: float
    false: float
    missed: float
    proximity: float


class InstanceLoss(OverlapLoss):
    r"""Instance loss, 0 or more: a weighted sum of a pixel loss and of terms that count every lesion alike.

    $$L = L_{pixel} + (1 / 2K) \sum_i c(p_{R_i}, G_i) + (1 / 2M) \sum_j c(p_{P_j}, T_j) + L_{false} + L_{missed}$$

    by default, and the two other terms with ``weights``. The G_i are the K true instances, the P_j the M predicted
    ones. c is the criterion. R_i is G_i united with the P_j that touch it, T_j the union of the G_i that P_j touches;
    for a P_j that touches none, its presence q(P_j) stands for c.

    Source: Rachmadi, Byra, Skibbe, *A new family of instance-level loss functions ...*, Comput. Biol. Med. 174 (2024)
    108414; it grew from ICI (Rachmadi, Poon, Skibbe, MIDL 2023, arXiv 2304.06229). On binary predictions each term
    equals the published one. On soft predictions each term has a gradient, which the published code does not: steps are
    replaced by presence (``instances.presence``).

    Terms, for true instances (components of the target) and predicted ones (components of p >= ``threshold``):

    - ``pixel``: ``pixel_loss(input, target)``.
    - ``instance``: criterion on each true instance united with the predicted ones that touch it.
    - ``instance_pred``: criterion on each predicted instance against the true ones that it touches.
    - ``center``: criterion on maps of equal boxes around the centres of mass.
    - ``false``, ``missed``: predicted instances that touch no true one, true ones that are not predicted.
    - ``proximity``: instance scores weighted by the distance to the nearest box of the other side. As published it is
      the square of a difference of two sums over instances, and grows with the square of their number: about 2e6 at
      4,800 lesions. ``proximity="mean"`` stays below 2.

    A sample without true (predicted) instances counts for ``instance`` (``instance_pred``) as one instance, with the
    criterion on the whole sample. Classes are treated one-vs-rest and averaged over those present, that is with an
    instance in the target or the prediction of the batch. A weight of 0 saves the term's time. A network output of
    three and more exclusive classes starts at p = 1 / C everywhere: below C = 10 that is above the default threshold,
    and each class begins as one component that covers the volume, as a sigmoid does; from C = 10 on nothing is
    predicted until a class stands out. Both pass in the first steps.

    Defaults: pixel, false and missed weigh 1, instance and instance_pred 0.5, the rest 0, at a threshold of 0.1. The
    terms that count lesions find more of them, and those that score lesions keep their outlines. Chosen on validation
    cases of three kinds of synthetic lesions, where it beat 1 for both instance terms without counting in each; stored
    in ``tests/benchmarks/results/effectiveness``. The reference side alone trains to many false components, since
    nothing in it speaks of components that touch no lesion. A low threshold shows false components to the loss before
    they cross 0.5.

    On CUDA with ``sigmoid``, or ``softmax`` of two classes, a loss without center and proximity waits for nothing and
    has sizes that follow from the shape of the batch alone: it can sit in a CUDA graph.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, half precision is computed in float32; target as in
    ``monai.losses.DiceLoss``. Input (B, levels, C, H, W, D) is what ``DynUNet`` stacks in training: its levels are
    weighted as ``DeepSupervisionLoss`` does, which takes lists and 2D as well. The result is a scalar.

    Differentiable in ``input``; components, regions, boxes and presence weights are held fixed. Where presence comes in
    (``instance_pred`` on false components, ``center``, ``false``, ``missed``) the gradient is therefore a chosen
    direction and not the derivative of the value: that derivative would push down the faint rim of a lesion that is
    found. After a call ``last_terms`` holds the terms that it computed, detached, by name.

    Args:
        include_background: as in MONAI's ``DiceLoss``: False leaves channel 0 out (of the instance terms and of the
            default pixel loss).
        to_onehot_y: the target is (B, 1, *spatial) class labels.
        sigmoid: ``input`` are logits of independent channels.
        softmax: ``input`` are logits of exclusive classes.
        other_act: an activation that gives probabilities.
        pixel_loss: any MONAI or torch loss; gets ``input`` and ``target`` untouched and so carries its own activation.
            Default: Dice + cross-entropy for ``sigmoid`` and ``softmax``, Dice otherwise. (Exceptions: with
            ``target_is_instances`` it gets the binary mask of the map; with ``ignore_index``, unless it has the same
            ``ignore_index`` itself, ignored voxels reach it as certain background.)
        instance_loss: the criterion of ``instance`` and ``instance_pred``, a loss on probabilities and a binary target
            of shape (1, 1, *spatial). Default: Dice. A ``RegionLoss``, or a MONAI or torch loss that ``as_criterion``
            can turn into one, scores all instances in one pass; any other callable is called once an instance on a
            whole volume, which is slow, and on a false component gets an empty target instead of being replaced by
            presence. MONAI's and torch's losses on logits get the logit of the class; the published code feeds them
            probabilities, which ``monai_instance_loss.reference`` does.
        center_loss: the criterion of ``center``; likewise.
        weights: term name to weight, 0 or more; terms not named keep their default. In YAML ``"false"`` needs its
            quotes.
        threshold: predicted instances are components of p >= ``threshold``; in (0, 1).
        connectivity: as in ``label_instances``; None is full.
        center_radius: half-width of the center boxes in voxels along the longest axis.
        min_instance_size: instances of this many voxels or fewer are not scored and not counted, on both sides; they
            still touch. In the published code, and in ``monai_instance_loss.reference``, they are counted, and small
            predictions neither detect nor join a region.
        exclude_other_tp: a true instance's region takes from touching predictions only voxels outside the target.
        count_as_rate: ``false`` and ``missed`` in [0, 1] instead of numbers of instances.
        instance_reduction: ``"mean"`` or ``"sum"`` over the instances of a sample, with ``average_over="sample"``.
        average_over: ``"instance"``: all instances of the batch weigh the same; ``"sample"``: all samples do.
        proximity: ``"published"``, (a - b) squared, or ``"mean"``; see ``terms.proximity_scores``.
        box_distance: the distance of two boxes in ``proximity``: ``"diou"``, as published, or ``"giou"``.
        ignore_index: target value of voxels to leave out, as in MONAI's ``DiceLoss``; -1, say, in an instance map.
        target_is_instances: the target is an instance map (see ``transforms.LabelInstancesd``): nothing is labelled on
            the target's side.
        reduction: ``"mean"`` or ``"sum"`` over the batch, of the instance terms; the pixel loss has its own.

    Raises:
        TypeError: an argument that should be callable, a tensor or a mapping is not.
        ValueError: an unknown option or weight, a negative weight, a threshold outside (0, 1); on call: shapes or class
            counts that do not fit, a target that is not binary (or class labels, or whole numbers), probabilities
            outside [0, 1], a pixel loss that does not return one number. NaN in the input gives NaN, not an error.
        RuntimeError: on CUDA, a target that is not binary; the device reports it, and the host does not wait for it.

    Example:
        >>> import torch
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = target[0, 0, 5:7, 5:7] = 1
        >>> logits = torch.full((1, 1, 8, 8), -9.0, requires_grad=True)
        >>> loss = InstanceLoss(sigmoid=True)
        >>> loss(logits, target).backward()
        >>> bool((logits.grad[target > 0] < 0).all())
        True
        >>> round(loss.terms(logits, target).missed.item(), 3)
        1.0
    """

    terms_type: ClassVar[type[Any]] = InstanceLossTerms
    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"pixel": 1.0, "instance": 0.5, "instance_pred": 0.5, "false": 1.0, "missed": 1.0}
    )
    instance_terms: ClassVar[Mapping[str, Term]] = MappingProxyType(
        {
            "instance": INSTANCE,
            "instance_pred": INSTANCE_PRED,
            "center": CENTER,
            "false": FALSE,
            "missed": MISSED,
            "proximity": PROXIMITY,
        }
    )

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
        weights: InstanceLossWeights | None = None,
        threshold: float = 0.1,
        connectivity: int | None = None,
        center_radius: int = 3,
        min_instance_size: int = 0,
        exclude_other_tp: bool = True,
        count_as_rate: bool = True,
        instance_reduction: Literal["mean", "sum"] = "mean",
        average_over: Literal["instance", "sample"] = "instance",
        proximity: Literal["published", "mean"] = "published",
        box_distance: Literal["diou", "giou"] = "diou",
        ignore_index: int | None = None,
        target_is_instances: bool = False,
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
            threshold,
            min_instance_size,
        )
        self.instance_loss = as_criterion("instance_loss", instance_loss)
        self.center_loss = as_criterion("center_loss", center_loss)
        self.center_radius = checked_count("center_radius", center_radius)
        self.exclude_other_tp = exclude_other_tp
        self.count_as_rate = count_as_rate
        self.proximity = checked_choice("proximity", proximity, ("published", "mean"))
        self.box_distance = checked_choice("box_distance", box_distance, ("diou", "giou"))
