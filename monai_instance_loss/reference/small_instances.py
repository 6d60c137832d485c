"""Small predicted instances in the published code: they are counted, and neither detect nor join a region."""

from __future__ import annotations

from typing import NamedTuple

import torch

from monai_instance_loss.instances import label_instances

__all__ = ["SmallRemoved", "remove_small"]


class SmallRemoved(NamedTuple):
    """A batch without its small predicted instances, as the published terms see it.

    Attributes:
        p: probabilities (B, 1, *spatial), 0 on small predicted instances: what remains detects and joins regions.
        target: the target (B, 1, *spatial), 0 on small predicted instances: they touch nothing, and so are false.
    """

    p: torch.Tensor
    target: torch.Tensor


def remove_small(p: torch.Tensor, target: torch.Tensor, threshold: float, min_instance_size: int) -> SmallRemoved:
    """Take the small predicted instances out of the probabilities, and from under them the target.

    A sample without target stays as it is: there is nothing to detect, and its prediction is scored as a whole.

    Source: the code of Rachmadi, Byra, Skibbe, Comput. Biol. Med. 174 (2024) 108414. Differentiable in ``p``, with a
    gradient of 0 where it was set to 0.

    Args:
        p: probabilities (B, 1, *spatial), float32 or float64.
        target: (B, 1, *spatial), 0 for background.
        threshold: predicted instances are the components, over full connectivity, of p >= this.
        min_instance_size: those of this many voxels or fewer are small.

    Returns:
        Probabilities and target of the same shapes.

    Example:
        >>> p = torch.tensor([[1.0, 1.0, 0.0, 1.0]])[None, None]
        >>> removed = remove_small(p, torch.ones(1, 1, 1, 4), threshold=0.5, min_instance_size=1)
        >>> removed.p[0, 0], removed.target[0, 0]
        (tensor([[1., 1., 0., 0.]]), tensor([[1., 1., 1., 0.]]))
    """
    # NaN is no prediction here and so stays in, for the loss to see
    labels = label_instances(p >= threshold).labels.long()
    is_small = torch.bincount(labels.flatten(), minlength=1) <= min_instance_size
    has_target = (target != 0).flatten(1).any(1).view(-1, *[1] * (p.ndim - 1))
    small = is_small[labels] & (labels > 0) & has_target
    return SmallRemoved(p.masked_fill(small, 0), target.masked_fill(small, 0))
