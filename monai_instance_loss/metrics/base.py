"""The base of the metrics on instances: buffer sums and counts of each sample, divide only when aggregating."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from monai.utils import MetricReduction

from monai_instance_loss.instances import Instances, instances_from_map, label_instances
from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.metrics.buffer import BufferedMetric
from monai_instance_loss.metrics.inputs import prepare_instance_maps, prepare_masks
from monai_instance_loss.metrics.matching import Matching, match_instances
from monai_instance_loss.metrics.overlaps import OverlapTable
from monai_instance_loss.metrics.reduction import check_reduction, reduce_scores
from monai_instance_loss.metrics.spacing import sample_spacing
from monai_instance_loss.metrics.strata import Groups, checked_edges, group_instances

__all__ = ["InstanceMetric"]

Reduced = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class InstanceMetric(BufferedMetric):
    """A score of matched and unmatched instances; a subclass says what to add up (``tally``) and divide (``scores``).

    Source: ours, on MONAI's ``CumulativeIterationMetric``.

    Called with ``y_pred`` and ``y``, binarised (B, C, H, W) or (B, C, H, W, D) of any dtype, or lists of such samples
    without B, it labels and matches instances, and buffers and returns the tallies (B, C, K). ``aggregate`` turns the
    tallies of all calls on all ranks into the score; a rank without a sample takes part with nothing. A batch of 0
    adds nothing; NaN scores are left out of every reduction, and where nothing is left the result is NaN.
    Differentiable: nothing.

    With ``volume_edges_mm3`` everything comes per bin of instance volume: tallies are (B, C, bins, K), and the
    aggregated score and ``not_nans`` get bins as their last dimension: (bins,) for ``"mean"``, ``"sum"`` and
    ``"pooled"``, (C, bins) for ``"mean_batch"``, (B, C, bins) for ``"none"``. Instances are matched before they are
    sorted, true ones into the bin of their own volume and predicted ones into that of theirs.

    Args:
        include_background: whether to score the first channel; a single channel is always scored.
        reduction: MONAI's ``"none"``, ``"mean"``, ``"sum"``, ``"mean_batch"``, ``"sum_batch"``, ``"mean_channel"``
            and ``"sum_channel"`` reduce the scores of each sample and channel. ``"pooled"`` adds up the tallies of all
            samples first, scores each channel, and averages over the channels that have something to score.
        get_not_nans: whether ``aggregate`` returns ``(score, not_nans)``, where ``not_nans`` counts, as in MONAI, the
            scores that are not NaN; with ``"pooled"``, the channels.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity (8 or 26 neighbours).
        ignore_index: voxels where ``y`` has this value in any channel are taken out of both masks, in all channels.
        matching: when a prediction matches a true instance; None is the default of the metric.
        volume_edges_mm3: increasing edges between bins of instance volume in mm3, of area in mm2 for 2D images: bin k
            holds volumes in [edge k - 1, edge k), the first from 0 and the last without end. None makes no bins.
        spacing_mm: size of a voxel along each spatial axis in mm, where bins or the matching ask for it. None takes it
            from the affine of ``y``, or of ``y_pred``, for each sample; one of them then has to be a MetaTensor.
        is_instances: ``y_pred`` and ``y`` are instance maps, as ``instances_from_map`` reads them, rather than masks.

    Raises:
        TypeError: ``matching`` is not a ``Matching``, ``volume_edges_mm3`` or ``spacing_mm`` is no sequence; (on call)
            ``y_pred`` or ``y`` is not a tensor.
        ValueError: ``reduction`` is unknown, ``connectivity`` is given for instance maps, edges or spacing are not
            positive finite numbers or edges do not increase; (on call) shapes differ or are not 2D or 3D, values are
            not binary or, in a map, not whole, no spacing is known where one is needed, or ``ignore_index`` is a value
            that any voxel of several channels may hold (0, and in masks 1).

    Example:
        >>> import torch
        >>> class TrueInstances(InstanceMetric):
        ...     def tally(self, pairs, true, pred):
        ...         return true.count(pairs.true_voxels > 0)[..., None]
        ...     def scores(self, tally):
        ...         return [tally[..., 0].float()]
        >>> metric = TrueInstances(volume_edges_mm3=(1.5,), spacing_mm=(1, 1))
        >>> y = torch.tensor([[1, 1, 0, 1, 0, 1]])[None, None]
        >>> _ = metric(y, y)
        >>> metric.aggregate()
        tensor([2., 1.])
    """

    default_matching = Matching()
    # a str where there is one score, a tuple where a list of them was asked for
    metric_name: str | tuple[str, ...] = ""

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        *,
        matching: Matching | None = None,
        volume_edges_mm3: Sequence[float] | None = None,
        spacing_mm: Sequence[float] | None = None,
        is_instances: bool = False,
    ) -> None:
        super().__init__()
        if matching is not None and not isinstance(matching, Matching):
            raise TypeError(f"Expected `matching` to be None or a Matching, but got {type(matching).__name__}.")
        if is_instances and connectivity is not None:
            raise ValueError(
                "Expected `connectivity` to be None for instance maps, which are not labelled, but got "
                f"{connectivity!r}."
            )
        self.include_background = include_background
        self.reduction = check_reduction(reduction)
        self.get_not_nans = get_not_nans
        self.connectivity = connectivity
        self.ignore_index = ignore_index
        self.matching = self.default_matching if matching is None else matching
        self.volume_edges_mm3 = checked_edges(volume_edges_mm3)
        self.spacing_mm = checked_spacing(spacing_mm)
        self.is_instances = is_instances

    @abstractmethod
    def tally(self, pairs: OverlapTable, true: Groups, pred: Groups) -> torch.Tensor:
        """Sums and counts of a batch, (B, C, K), or (B, C, bins, K), that may be added over samples.

        Args:
            pairs: the matched pairs and the sizes of all instances.
            true: which sample, channel and bin each true instance belongs to.
            pred: the same for predicted ones.
        """

    @abstractmethod
    def scores(self, tally: torch.Tensor) -> list[torch.Tensor]:
        """From a tally to one float score a name, new tensors without its last dimension; NaN for nothing to score."""

    def aggregate(self, reduction: MetricReduction | str | None = None) -> Reduced | list[Reduced]:
        """Score what was buffered since the last ``reset``.

        Args:
            reduction: overrides the reduction given at construction.

        Returns:
            The score, or ``(score, not_nans)`` with ``get_not_nans``. Where the metric was given a sequence of names,
            a list of these in the same order.

        Raises:
            ValueError: the metric was not called before, or ``reduction`` is unknown.
        """
        reduced = reduce_scores(self._rows(), self.scores, self.reduction if reduction is None else reduction)
        results: list[Reduced] = [pair if self.get_not_nans else pair[0] for pair in reduced]
        return results[0] if isinstance(self.metric_name, str) else results

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        prepare = prepare_instance_maps if self.is_instances else prepare_masks
        masks = prepare(y_pred, y, self.include_background, self.ignore_index)
        spacing = None
        needed_by = self.matching.in_mm if self.volume_edges_mm3 is None else "volume_edges_mm3"
        if needed_by is not None:
            spacing = sample_spacing(self.spacing_mm, y_pred, y, needed_by)
        pred, true = map(self._instances, masks)
        pairs = match_instances(true, pred, self.matching, spacing)
        return self.tally(
            pairs,
            group_instances(true, pairs.true_voxels, self.volume_edges_mm3, spacing),
            group_instances(pred, pairs.pred_voxels, self.volume_edges_mm3, spacing),
        )

    def _instances(self, values: torch.Tensor) -> Instances:
        return instances_from_map(values) if self.is_instances else label_instances(values, self.connectivity)

    def _rows_of_nothing(self) -> torch.Tensor:
        none = label_instances(torch.zeros(0, 0, 1, 1))
        groups = group_instances(none, none.sample, self.volume_edges_mm3, torch.ones(0, 2))
        return self.tally(match_instances(none, none), groups, groups)
