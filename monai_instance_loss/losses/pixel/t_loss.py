"""Robust T-loss, whose tolerance of wrong labels is learnt."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import nn

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import InputKeywords, RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map, one_minus_squared_error, squared

__all__ = ["TLoss"]

# keeps nu above 0 however far its logarithm falls, as the published code does
_EPSILON = 1e-8


class TLoss(RegionLoss):
    r"""Robust T-loss, any real number: the negative log-likelihood of y - p under a Student-t distribution.

    $$L = -\log G((\nu + D) / 2) + \log G(\nu / 2) + D/2 \log(\pi \nu) + (\nu + D) / 2 \log(1 + \sum (y - p)^2 / \nu)$$

    D is the number of voxels of a sample's channel, G the gamma function; the scale is the identity, as in the paper.

    Source: Gonzalez-Jimenez et al., *Robust T-loss for medical image segmentation*, MICCAI 2023, arXiv 2306.00753. As
    published it is not divided by D, so that it is of the order of D: mind that when it
    is weighed against another loss. A region without target has a likelihood like any other.

    nu, the degrees of freedom, is learnt, as its logarithm ``log_nu``: **the optimizer must be given the parameters of
    the loss** beside those of the network, ``Adam([*network.parameters(), *loss.parameters()])``, and the loss must be
    on the network's device; otherwise nu stays where it starts.

    Conventions: the authors' code takes the logarithm of nu for its argument, so that its default of 1 starts at e:
    that is ``nu=math.e`` here. Its scale is 1/e, which multiplies their squared errors by e and takes D/2 from the
    value.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input`` and ``log_nu``.

    Args:
        nu: where the degrees of freedom start, above 0.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: ``nu`` that is not finite and above 0, two activations, an unknown ``reduction``; on call, shapes
            that do not fit, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0]]]])
        >>> round(float(TLoss()(torch.tensor([[[[0.0]]]]), y).detach()), 4)  # Cauchy density at 1: log(2 pi)
        1.8379
    """

    def __init__(self, *, nu: float = 1.0, **kwargs: Unpack[InputKeywords]) -> None:
        super().__init__(**kwargs)
        if checked_number("nu", nu) == 0:
            raise ValueError(f"Expected `nu` to be above 0, but got {nu!r}.")
        self.log_nu = nn.Parameter(torch.tensor(math.log(nu)))

    @property
    def nu(self) -> torch.Tensor:
        """The degrees of freedom, a scalar with graph."""
        return self.log_nu.exp() + _EPSILON

    @property
    def on(self) -> tuple[Map, ...]:
        """One minus the squared error."""
        return (one_minus_squared_error,)

    @property
    def off(self) -> tuple[Map, ...]:
        """p^2, the squared error."""
        return (squared,)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The negative log-likelihood of each region."""
        squares = (sums.off[squared] + sums.target_voxels - sums.on[one_minus_squared_error]).clamp(min=0)
        # terms of the order of D cancel, which float32 would not stand
        nu, voxels, total = self.nu.double(), sums.voxels.double(), squares.double()
        half = (nu + voxels) / 2
        constant = torch.lgamma(nu / 2) - torch.lgamma(half) + voxels / 2 * (math.pi * nu).log()
        return (constant + half * torch.log1p(total / nu)).to(squares.dtype)

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The same: the likelihood is not flat without target."""
        return self.score(sums)
