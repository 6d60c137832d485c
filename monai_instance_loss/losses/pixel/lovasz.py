"""Lovasz losses: the Jaccard index as a convex surrogate of sorted errors."""

from __future__ import annotations

from typing import Literal, Unpack

import torch

from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.region import ImageLoss, InputKeywords

__all__ = ["LovaszHingeLoss", "LovaszSoftmaxLoss"]


class LovaszHingeLoss(ImageLoss):
    """Lovasz hinge, 0 or more: the Lovasz extension of the Jaccard loss, of hinge errors max(0, 1 - x s).

    Source: Berman et al., *The Lovasz-softmax loss*, CVPR 2018, arXiv 1705.08790. x are logits and s is 1 on the target
    and -1 elsewhere. With ``softmax`` x is the logit of a class against the rest, and of probabilities it is
    log p - log(1 - p). Every channel is scored, one without target too: its value is then the largest error.

    Exact, ties included; costs a sort of all voxels. Differentiable in ``input``: the weights of the sorted errors are
    constant between changes of their order.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``.

    Args:
        per_image: score every sample by itself; False sorts the voxels of the whole batch together, per channel, and
            ``reduction="none"`` then gives (1, C, 1, ...).
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: two activations, an unknown ``reduction``; on call, shapes that do not fit, a target that is not
            binary (or labels), probabilities outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0]]]])
        >>> logits = torch.tensor([[[[0.5, 0.0]]]])
        >>> float(LovaszHingeLoss(sigmoid=True)(logits, y))  # errors 1 (off) and 0.5 (on): 1 * 1/2 + 0.5 * 1/2
        0.75
    """

    def __init__(self, *, per_image: bool = True, **kwargs: Unpack[InputKeywords]) -> None:
        super().__init__(**kwargs)
        self.per_image = per_image

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The Lovasz extension at the hinge errors of each channel, (B, C), or (1, C) for the batch as one."""
        logit = batch.voxels.ce_off - batch.voxels.ce_on
        errors = torch.relu(1 - torch.where(batch.target, logit, -logit))
        return _lovasz(errors, batch, self.per_image)


class LovaszSoftmaxLoss(ImageLoss):
    """Lovasz-softmax, in [0, 1]: the Lovasz extension of the Jaccard loss, of errors |y - p|, averaged over classes.

    Source: Berman et al., *The Lovasz-softmax loss*, CVPR 2018, arXiv 1705.08790. On binary predictions it is one minus
    the Jaccard index.

    A class is present in an image (in the batch, without ``per_image``) that has it in the target. As published, the
    others are left out of the image's average, so that false positives of a class that is not there cost nothing where
    there is one channel; ``classes="all"`` scores them by their largest p. No class present: 0, with graph.

    Exact, ties included; costs a sort of all voxels. Differentiable in ``input``: the weights of the sorted errors are
    constant between changes of their order.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. ``reduction`` is over samples, and
    ``"none"`` gives (B, 1, 1, ...).

    Args:
        classes: ``"present"`` or ``"all"``.
        per_image: score every sample by itself; False sorts the voxels of the whole batch together (the published
            default), as if it were one sample.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: ``classes`` that is neither, two activations, an unknown ``reduction``; on call, shapes that do not
            fit, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0]]]])
        >>> p = torch.tensor([[[[0.75, 0.5]]]])
        >>> float(LovaszSoftmaxLoss()(p, y))  # errors 0.5 (off) and 0.25 (on): 0.5 * 1/2 + 0.25 * 1/2
        0.375
    """

    def __init__(
        self, *, classes: Literal["present", "all"] = "present", per_image: bool = True, **kwargs: Unpack[InputKeywords]
    ) -> None:
        super().__init__(**kwargs)
        if classes not in ("present", "all"):
            raise ValueError(f'Expected `classes` to be "present" or "all", but got {classes!r}.')
        self.classes = classes
        self.per_image = per_image

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The mean over classes (B, 1), or (1, 1) for the batch as one."""
        p = batch.voxels.p
        values = _lovasz(torch.where(batch.target, 1 - p, p), batch, self.per_image)
        if self.classes == "all":
            return values.mean(1, keepdim=True)
        present = _rows(batch.target, batch, self.per_image).any(1).view(values.shape)
        # multiplied rather than selected: NaN in an absent class has to show
        return (values * present).sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)


def _lovasz(errors: torch.Tensor, batch: Batch, per_image: bool) -> torch.Tensor:
    """The Lovasz extension of the Jaccard loss at errors (R, *spatial) of 0 or more: (B, C) or (1, C)."""
    # an error of 0 that is off the target comes last and adds nothing: as if the voxel were not there
    rows = _rows(torch.where(batch.kept, errors, 0), batch, per_image)
    ordered, order = rows.sort(dim=1, descending=True)
    on = _rows(batch.target, batch, per_image).gather(1, order)
    weights = _jaccard_steps(on, rows.dtype)
    return (ordered * weights).sum(1).view(-1, batch.shape[1])


def _jaccard_steps(on: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What each voxel adds to the Jaccard loss when the voxels of (R, V) are got wrong one after the other.

    In closed form: a difference of two Jaccard losses near 1 would lose its digits in a large volume.
    """
    wrong = on.cumsum(1)
    target_voxels = wrong[:, -1:]
    union = target_voxels + (~on).cumsum(1)
    left = target_voxels - wrong
    # off the target, left / (union - 1) - left / union; without any target, the first voxel takes it from 0 to 1
    off_step = left.to(dtype) / ((union - 1).clamp(min=1) * union)
    off_step = torch.where(union == 1, 1.0, off_step)
    return torch.where(on, 1 / union.to(dtype), off_step)


def _rows(values: torch.Tensor, batch: Batch, per_image: bool) -> torch.Tensor:
    """Values (R, *spatial) as one row a sample and channel, or one row a channel."""
    flat = values.flatten(1)
    if per_image:
        return flat
    samples, channels = batch.shape[:2]
    return flat.view(samples, channels, -1).transpose(0, 1).reshape(channels, -1)
