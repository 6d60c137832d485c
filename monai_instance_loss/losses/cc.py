"""CCLoss and BiCCLoss: a pixel loss, and a criterion on the cell of voxels nearest to each instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch

from monai_instance_loss._checks import checked_fraction, checked_number
from monai_instance_loss.instances import Instances
from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.instances.voronoi import nearest_instance, nearest_instances
from monai_instance_loss.losses.blob import PixelInstanceWeights, RegionPerInstanceLoss
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.overlap import InstanceScores
from monai_instance_loss.losses.engine.region import RegionLoss
from monai_instance_loss.losses.pixel.compound import DiceCERegionLoss
from monai_instance_loss.losses.terms.regions import cell_scores

__all__ = ["BiCCLoss", "CCLoss"]


class CCLoss(RegionPerInstanceLoss):
    r"""CC loss (CC-DiceCE), 0 or more: a pixel loss, and a criterion on the cell of voxels nearest to each lesion.

    $$L = L_{pixel} + (1 / K) \sum_i c(p_{V_i}, G_i)$$

    The G_i are the K lesions, V_i is the cell of G_i, c is the criterion.

    Source: Bouteille et al., *Learning to look closer*, ISBI 2026, arXiv 2511.17146; several classes one-vs-rest as in
    Kundu et al., CVPRW 2026, arXiv 2604.24276. A voxel that is equally near to two lesions belongs to the first one in
    raster order, so that a flip of the image moves such voxels. As in the authors' code, Dice is not smoothed in a
    cell: they found that smoothing stops the training on small lesions. A sample without lesions counts as one cell,
    with the criterion on all of it.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, half precision is computed in float32; target the
    same shape, binary, or (B, 1, *spatial) labels with ``to_onehot_y``. The result is a scalar; ``terms`` gives (pixel,
    instance). Differentiable in ``input``; components and cells are held fixed.

    Args:
        include_background: False leaves channel 0 out (of the instance term and of the default pixel loss).
        to_onehot_y: the target is (B, 1, *spatial) class labels.
        sigmoid: ``input`` are logits of independent channels.
        softmax: ``input`` are logits of exclusive classes.
        other_act: an activation that gives probabilities.
        pixel_loss: any MONAI or torch loss; gets ``input`` and ``target`` untouched and so carries its own activation.
            Default: Dice + cross-entropy for ``sigmoid`` and ``softmax``, Dice otherwise.
        instance_loss: the criterion on a region, a loss on probabilities and a binary target. Default: Dice +
            cross-entropy without smoothing. A ``RegionLoss``, or a MONAI or torch loss that ``as_criterion`` can turn
            into one, scores all regions in one pass; any other callable is called once an instance on a whole volume,
            0 outside the region, which is slow.
        weights: term name to weight, 0 or more; default 1 each.
        connectivity: as in ``label_instances``; None is full.
        instance_reduction: ``"mean"`` or ``"sum"`` over the lesions of a sample, with ``average_over="sample"``.
        average_over: ``"sample"``, as the paper does, or ``"instance"``.
        ignore_index: target value of voxels to leave out.
        target_is_instances: the target is an instance map (see ``transforms.LabelInstancesd``).
        inverse_size_weighting: in each region, weigh the voxels of the lesion and all others by one over their number,
            so that both count alike however small the lesion is; not in the paper.
        reduction: ``"mean"`` or ``"sum"`` over the batch.
        spacing_mm: voxel size along each spatial axis in mm, for the cells; None measures in voxels.

    Raises:
        TypeError: an argument that should be callable, a tensor or a mapping is not.
        ValueError: an unknown option or weight, a negative weight, a ``spacing_mm`` that is not positive; on call:
            shapes or class counts that do not fit, a target that is not binary (or class labels, or whole numbers),
            probabilities outside [0, 1].

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = target[0, 0, 5:7, 5:7] = 1
        >>> found_one = torch.full((1, 1, 8, 8), -10.0)
        >>> found_one[0, 0, 1:3, 1:3] = 10
        >>> terms = CCLoss(sigmoid=True, spacing_mm=(1, 1)).terms(found_one, target)
        >>> bool(terms.instance > terms.pixel)  # Dice of a missed lesion is 1, whatever the other's
        True
    """

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
        *,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            include_background,
            to_onehot_y,
            sigmoid,
            softmax,
            other_act,
            pixel_loss,
            instance_loss,
            weights,
            connectivity,
            instance_reduction,
            average_over,
            ignore_index,
            target_is_instances,
            inverse_size_weighting,
            reduction,
        )
        self.spacing_mm = checked_spacing(spacing_mm)

    def _default_criterion(self) -> RegionLoss:
        return DiceCERegionLoss(smooth_nr=0, smooth_dr=0)

    def _term(self, batch: Batch, true: Instances) -> torch.Tensor:
        cells = nearest_instance(true, self.spacing_mm)
        return self._averaged(self._cell_scores(batch, true, cells), true)

    def _cell_scores(self, batch: Batch, instances: Instances, cells: torch.Tensor) -> InstanceScores:
        return cell_scores(batch, instances, cells, self.instance_loss, self.inverse_size_weighting)


class BiCCLoss(CCLoss):
    r"""BiCC loss, 0 or more: a pixel loss, and a criterion on cells of the lesions and on cells of the predictions.

    $$L = L_{pixel} + (1 - \alpha) (1 / K) \sum_i c(p_{V_i}, y_{V_i}) + \alpha (1 / M) \sum_j c(p_{W_j}, y_{W_j})$$

    V_i are the cells of the K lesions, W_j those of the M predicted components, y is the target, c the criterion.

    Source: Bouteille et al., *BiCC*, arXiv 2609.30223. The instance term is (1 - alpha) times that of ``CCLoss`` plus
    alpha times the same on the cells of the predicted components, where a cell without target is scored by its
    presence, so that false components are seen. Dice is not smoothed in a cell, as in the authors' code. Predicted
    components are those of p >= ``threshold`` here, of p > 0.5 there; alpha = 0.5 is ours.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, half precision is computed in float32; target the
    same shape, binary, or (B, 1, *spatial) labels with ``to_onehot_y``. The result is a scalar; ``terms`` gives (pixel,
    instance). Differentiable in ``input``; components, cells and presence weights are held fixed.

    Args:
        include_background: False leaves channel 0 out (of the instance term and of the default pixel loss).
        to_onehot_y: the target is (B, 1, *spatial) class labels.
        sigmoid: ``input`` are logits of independent channels.
        softmax: ``input`` are logits of exclusive classes.
        other_act: an activation that gives probabilities.
        pixel_loss: any MONAI or torch loss; gets ``input`` and ``target`` untouched and so carries its own activation.
            Default: Dice + cross-entropy for ``sigmoid`` and ``softmax``, Dice otherwise.
        instance_loss: the criterion on a region, a loss on probabilities and a binary target. Default: Dice +
            cross-entropy without smoothing. A ``RegionLoss``, or a MONAI or torch loss that ``as_criterion`` can turn
            into one, scores all regions in one pass; any other callable is called once an instance on a whole volume,
            0 outside the region, which is slow.
        weights: term name to weight, 0 or more; default 1 each.
        connectivity: as in ``label_instances``; None is full.
        instance_reduction: ``"mean"`` or ``"sum"`` over the lesions of a sample, with ``average_over="sample"``.
        average_over: ``"sample"``, as the paper does, or ``"instance"``.
        ignore_index: target value of voxels to leave out.
        target_is_instances: the target is an instance map (see ``transforms.LabelInstancesd``).
        inverse_size_weighting: in each region, weigh the voxels of the lesion and all others by one over their number,
            so that both count alike however small the lesion is; not in the paper.
        reduction: ``"mean"`` or ``"sum"`` over the batch.
        spacing_mm: voxel size along each spatial axis in mm, for the cells; None measures in voxels.
        alpha: the share of the predicted side, in [0, 1]; 0 is ``CCLoss``.
        threshold: predicted components are those of p >= ``threshold``; in (0, 1).

    Raises:
        TypeError: an argument that should be callable, a tensor or a mapping is not.
        ValueError: an unknown option or weight, a negative weight, an ``alpha`` outside [0, 1], a
            ``threshold`` outside (0, 1), a ``spacing_mm`` that is not positive; on call: shapes or class counts that do
            not fit, a target that is not binary (or class labels, or whole numbers), probabilities outside [0, 1].

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = 1
        >>> logits = torch.full((1, 1, 8, 8), -10.0)
        >>> logits[0, 0, 1:3, 1:3] = logits[0, 0, 6, 6] = 10
        >>> [round(float(BiCCLoss(sigmoid=True, alpha=a).terms(logits, target).instance), 2) for a in (0.0, 1.0)]
        [0.27, 0.74]
    """

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
        *,
        spacing_mm: Sequence[float] | None = None,
        alpha: float = 0.5,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(
            include_background,
            to_onehot_y,
            sigmoid,
            softmax,
            other_act,
            pixel_loss,
            instance_loss,
            weights,
            connectivity,
            instance_reduction,
            average_over,
            ignore_index,
            target_is_instances,
            inverse_size_weighting,
            reduction,
            spacing_mm=spacing_mm,
        )
        self.alpha = checked_number("alpha", alpha, high=1)
        self.threshold = checked_fraction("threshold", threshold)

    def _threshold(self, wanted: frozenset[str]) -> float | None:
        return self.threshold if self.alpha > 0 and "instance" in wanted else None

    def _term(self, batch: Batch, true: Instances) -> torch.Tensor:
        if self.alpha == 0:
            return super()._term(batch, true)
        pred = batch.label_predicted(self.connectivity)
        true_cells, pred_cells = nearest_instances([true, pred], self.spacing_mm)
        on_true = self._averaged(self._cell_scores(batch, true, true_cells), true)
        on_pred = self._averaged(self._cell_scores(batch, pred, pred_cells), true, pred)
        return (1 - self.alpha) * on_true + self.alpha * on_pred
