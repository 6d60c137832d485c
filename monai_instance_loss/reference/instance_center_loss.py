"""InstanceCenterLoss behind its published signature."""

from __future__ import annotations

from monai_instance_loss import losses
from monai_instance_loss.reference.as_called import Criterion
from monai_instance_loss.reference.published import Published

__all__ = ["InstanceCenterLoss"]


class InstanceCenterLoss(Published):
    """``losses.InstanceCenterLoss`` behind the published signature; each term is 0 or more.

    Returns (pixel, instance, instance of the outputs, center, false, missed), scalars with graph, where
    ``losses.InstanceCenterLoss`` returns their weighted sum. Outputs are (B, num_out_chn, H, W) or (B, num_out_chn, H,
    W, D) of any float type, labels have as many channels or one; see ``forward``. One channel is scored at a time: with
    ``num_out_chn`` above 1, channel ``object_chn``. Differentiable in the outputs; components, regions and boxes are
    held fixed.

    Source: Rachmadi, Byra, Skibbe, Comput. Biol. Med. 174 (2024) 108414, and the authors' code. On binary predictions
    the numbers are those of that code, but for what follows. Soft predictions it binarises, which has no gradient, or
    with ``activation="none"`` squares in part; here they are scored as they are and have true gradients.

    - Labelling is exact, so that ``num_iterations`` has no effect, and a lone voxel at index 0 is an instance.
    - Nothing is left out to save time: ``max_cc_out`` and ``mul_too_many`` have no effect.
    - ``smoother``, 1e-7 in center maps and in the denominators of rates there, has none: both are exact.
    - With ``min_instance_size`` above 0 that code takes a label's region from the wrong predicted components, if a
      small one ends before a larger one that touches the label (the last voxel in raster order tells). Here the region
      is the right one, and instance differs; the other terms do not. Where all instances of one side of a sample are
      small, that code fails; here the sample is scored as one without any on that side.

    Args:
        loss_function_pixel: on (outputs, labels) of the channel, activation included (with softmax: on probabilities).
        loss_function_instance: criterion of both instance terms: any callable that returns one number for probabilities
            and binary labels of shape (1, 1, *spatial), both 0 outside of one instance's region, or the whole of a
            sample without instances. It gets probabilities whatever it is made for: ``DiceCELoss`` takes them for
            logits, ``DiceLoss(sigmoid=True)`` activates them again. MONAI's ``DiceLoss`` (smoothing 1e-5 at most) takes
            one pass over all regions, and on a false component is replaced by the mean probability there, weighted by
            itself, since it is flat; any other criterion is called once an instance on a whole volume, which is slow.
        loss_function_center: criterion of the center term, likewise, called once a sample.
        activation: ``"sigmoid"``, ``"softmax"`` or ``"none"`` (probabilities).
        num_out_chn: number of channels of the outputs.
        object_chn: the channel to score.
        spatial_dims: 2 or 3.
        reduce_segmentation: ``"mean"`` or ``"sum"`` over the instances of a sample, with
            ``instance_wise_reduce="data"``.
        instance_wise_reduce: average over all instances of the batch, or over its samples (``"data"``).
        min_instance_size: in voxels. Instances of this size or less are small: their regions and centers are not
            scored. They are counted all the same: a small label is missed unless a larger component touches it, and a
            small predicted component is false whatever it touches, since it detects nothing and joins no region. (In
            ``losses.InstanceCenterLoss`` small instances are not counted, and still detect and join.)
        segmentation_threshold: predicted components are those of p >= this (softmax: >= 1 / ``num_out_chn``).
        centroid_offset: half-width of the center boxes in voxels along the longest axis.
        instance_wise_loss_no_tp: a label's region takes from touching components only voxels outside the labels.
        rate_instead_number: false and missed as rates in [0, 1] instead of numbers; both average over the samples.
        num_iterations, max_cc_out, mul_too_many, smoother: accepted, of no effect.
        weighted_instance_wise, weighted_fdr: False only; unused in the published code.

    Raises:
        ValueError: ``activation``, ``spatial_dims``, ``reduce_segmentation``, ``instance_wise_reduce``,
            ``weighted_instance_wise`` or ``weighted_fdr`` is none of the values listed; ``num_out_chn`` is 1 with
            softmax; ``object_chn`` is not one of several channels. ``forward`` lists the errors of a call.

    Example:
        >>> import torch
        >>> from monai.losses import DiceLoss
        >>> dice = DiceLoss()
        >>> labels = torch.zeros(1, 1, 8, 8)
        >>> labels[0, 0, 1:3, 1:3] = 1
        >>> loss = InstanceCenterLoss(dice, dice, dice, activation="none", spatial_dims=2)
        >>> pixel, instance, instance_out, center, false, missed = loss(labels, labels)
        >>> round(float(center), 4)
        0.0
    """

    terms_of = losses.InstanceCenterLoss
    order = ("pixel", "instance", "instance_pred", "center", "false", "missed")

    def __init__(
        self,
        loss_function_pixel: Criterion,
        loss_function_instance: Criterion,
        loss_function_center: Criterion,
        activation: str = "sigmoid",
        num_out_chn: int = 1,
        object_chn: int = 1,
        spatial_dims: int = 3,
        reduce_segmentation: str = "mean",
        instance_wise_reduce: str = "instance",
        num_iterations: int = 350,
        segmentation_threshold: float = 0.5,
        max_cc_out: int = 50,
        mul_too_many: int = 50,
        min_instance_size: int = 0,
        centroid_offset: int = 5,
        smoother: float = 1e-07,
        instance_wise_loss_no_tp: bool = True,
        rate_instead_number: bool = False,
        weighted_instance_wise: bool = False,
        weighted_fdr: bool = False,
    ) -> None:
        super().__init__(dict(locals()))
