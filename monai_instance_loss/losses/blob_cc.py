"""BlobLoss, CCLoss and BiCCLoss: a pixel loss, and a criterion on a region around each instance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch

from monai_instance_loss._checks import checked_fraction
from monai_instance_loss.instances import Instances
from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.instances.voronoi import nearest_instance, nearest_instances
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.overlap import InstanceScores
from monai_instance_loss.losses.engine.reduction import Averaging
from monai_instance_loss.losses.engine.region import RegionLoss
from monai_instance_loss.losses.pixel.adapters import as_criterion
from monai_instance_loss.losses.pixel.compound import DiceCERegionLoss
from monai_instance_loss.losses.terms.base import TermsLoss
from monai_instance_loss.losses.terms.regions import blob_scores, cell_scores

__all__ = ["BiCCLoss", "BlobLoss", "CCLoss", "PixelInstanceTerms"]


class PixelInstanceTerms(NamedTuple):
    """The unweighted terms of ``BlobLoss``, ``CCLoss`` and ``BiCCLoss``, scalars with graph."""

    pixel: torch.Tensor
    instance: torch.Tensor


class _RegionPerInstanceLoss(TermsLoss):
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
        instance_loss: torch.nn.Module | None = None,
        weights: Mapping[str, float] | None = None,
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
            weights,
            connectivity,
        )
        self.instance_loss = (
            DiceCERegionLoss() if instance_loss is None else as_criterion("instance_loss", instance_loss)
        )
        if inverse_size_weighting and not isinstance(self.instance_loss, RegionLoss):
            raise ValueError(
                "Expected `inverse_size_weighting` to be False for an `instance_loss` that is no RegionLoss, but got "
                f"True for {type(instance_loss).__name__}."
            )
        self.inverse_size_weighting = inverse_size_weighting

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


class BlobLoss(_RegionPerInstanceLoss):
    """Blob loss, 0 or more: a pixel loss, and a criterion on each lesion with all other lesions masked out.

    Source: Kofler et al., *blob loss*, IPMI 2023, arXiv 2205.08209; several classes one-vs-rest as in Kundu et al.,
    CVPRW 2026, arXiv 2604.24276, averaged over the classes with an instance in the batch. A sample without lesions
    counts as one instance, with the criterion on all of it.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type; target as in ``monai.losses.DiceLoss``. The result is
    a scalar; ``terms`` gives (pixel, instance). Differentiable in ``input``; components are held fixed.

    Args:
        include_background: as in MONAI's ``DiceLoss``.
        to_onehot_y: the target is (B, 1, *spatial) class labels.
        sigmoid: ``input`` are logits of independent channels.
        softmax: ``input`` are logits of exclusive classes.
        other_act: an activation that gives probabilities.
        pixel_loss: as in ``InstanceLoss``.
        instance_loss: what scores a region, on one class against the rest. Default: Dice + binary cross-entropy, the
            latter from logits and averaged over the region. A RegionLoss, or a MONAI or torch loss that
            ``as_criterion`` can turn into one, scores all regions in one pass; any other callable is called once an
            instance on a whole volume, 0 outside the region, which is slow.
        weights: term name to weight, 0 or more; default 1 each.
        connectivity: as in ``label_instances``; None is full.
        instance_reduction: ``"mean"`` or ``"sum"`` over the lesions of a sample, with ``average_over="sample"``.
        average_over: ``"sample"``, as the paper does, or ``"instance"``.
        ignore_index: target value of voxels to leave out.
        target_is_instances: the target is an instance map; see ``transforms.LabelInstancesd``.
        inverse_size_weighting: in each region, weigh the voxels of the lesion and all others by one over their number,
            so that both count alike however small the lesion is; not in the paper.
        reduction: ``"mean"`` or ``"sum"`` over the batch.

    Raises:
        TypeError, ValueError: as in ``InstanceLoss``.

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = target[0, 0, 5:7, 5:7] = 1
        >>> logits = 20 * target - 10
        >>> round(float(BlobLoss(sigmoid=True)(logits, target)), 2)
        0.0
    """

    def _term(self, batch: Batch, true: Instances) -> torch.Tensor:
        return self._averaged(blob_scores(batch, true, self.instance_loss, self.inverse_size_weighting), true)


class CCLoss(_RegionPerInstanceLoss):
    """CC loss (CC-DiceCE), 0 or more: a pixel loss, and a criterion on the cell of voxels nearest to each lesion.

    Source: Bouteille et al., *Learning to look closer*, ISBI 2026, arXiv 2511.17146; several classes one-vs-rest as in
    Kundu et al., CVPRW 2026, arXiv 2604.24276. Cells need scipy (an exact distance transform, which is most of the
    cost).

    Shapes, differentiability and errors as in ``BlobLoss``.

    Args:
        spacing_mm: voxel size along each spatial axis in mm, for the cells; None measures in voxels.
        kwargs: as in ``BlobLoss``.

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = target[0, 0, 5:7, 5:7] = 1
        >>> found_one = torch.full((1, 1, 8, 8), -10.0)
        >>> found_one[0, 0, 1:3, 1:3] = 10
        >>> terms = CCLoss(sigmoid=True, spacing_mm=(1, 1)).terms(found_one, target)
        >>> bool(terms.instance > terms.pixel)  # Dice of a missed lesion is 1, whatever the other's
        True
    """

    def __init__(self, *args: object, spacing_mm: Sequence[float] | None = None, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.spacing_mm = checked_spacing(spacing_mm)

    def _term(self, batch: Batch, true: Instances) -> torch.Tensor:
        cells = nearest_instance(true, self.spacing_mm)
        return self._averaged(self._cell_scores(batch, true, cells), true)

    def _cell_scores(self, batch: Batch, instances: Instances, cells: torch.Tensor) -> InstanceScores:
        return cell_scores(batch, instances, cells, self.instance_loss, self.inverse_size_weighting)


class BiCCLoss(CCLoss):
    """BiCC loss, 0 or more: a pixel loss, and a criterion on cells of the lesions and on cells of the predictions.

    Source: Bouteille et al., *BiCC*, arXiv 2609.30223. The instance term is (1 - alpha) times that of ``CCLoss`` plus
    alpha times the same on the cells of the predicted components, where a cell without target is scored by its
    presence, so that false components are seen.

    Shapes, differentiability and errors as in ``BlobLoss``.

    Args:
        alpha: the share of the predicted side, in [0, 1]; 0 is ``CCLoss``.
        threshold: predicted components are those of p >= ``threshold``; in (0, 1).
        kwargs: as in ``CCLoss``.

    Example:
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> target[0, 0, 1:3, 1:3] = 1
        >>> logits = torch.full((1, 1, 8, 8), -10.0)
        >>> logits[0, 0, 1:3, 1:3] = logits[0, 0, 6, 6] = 10
        >>> [round(float(BiCCLoss(sigmoid=True, alpha=a).terms(logits, target).instance), 2) for a in (0.0, 1.0)]
        [0.27, 0.74]
    """

    def __init__(self, *args: object, alpha: float = 0.5, threshold: float = 0.5, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise TypeError(f"Expected `alpha` to be a number, but got {alpha!r}.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"Expected `alpha` to be in [0, 1], but got {alpha!r}.")
        self.alpha = float(alpha)
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
