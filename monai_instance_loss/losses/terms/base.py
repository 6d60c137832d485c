"""What instance losses share: a pixel loss, weighted terms, checks, empty and NaN input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch.nn.modules.loss import _Loss

from monai_instance_loss.instances.labelling import resolve_connectivity
from monai_instance_loss.losses.engine.batch import Volume
from monai_instance_loss.losses.engine.checks import checked_fraction, checked_size, checked_weights
from monai_instance_loss.losses.engine.cuda import FusedOverlap, fused_names
from monai_instance_loss.losses.engine.image import ImageLoss
from monai_instance_loss.losses.engine.options import InputOptions, Prepared
from monai_instance_loss.losses.engine.overlap import Overlap
from monai_instance_loss.losses.engine.reduction import Averaging
from monai_instance_loss.losses.pixel import default_pixel_loss
from monai_instance_loss.losses.pixel.adapters import Criterion

__all__ = ["OverlapLoss", "TermsLoss"]


class TermsLoss(_Loss, ABC):
    """A weighted sum of a pixel loss and instance terms, 0 or more; a subclass names the terms and computes them.

    Source: ours. Differentiable in ``input``.

    Args:
        inputs: how to read input and target.
        averaging: how to average over instances, samples and classes.
        pixel_loss: the pixel loss, None for the default.
        weights: term name to weight; terms not named keep the subclass's default.
        connectivity: as in ``label_instances``.

    Raises:
        TypeError: ``pixel_loss`` is not callable.
        ValueError: ``weights`` names no term or is negative.
    """

    terms_type: ClassVar[type[Any]]
    default_weights: ClassVar[Mapping[str, float]]

    def __init__(
        self,
        inputs: InputOptions,
        averaging: Averaging,
        pixel_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None,
        weights: Mapping[str, float] | None,
        connectivity: int | None,
    ) -> None:
        super().__init__(reduction=str(averaging.reduction))
        if pixel_loss is not None and not callable(pixel_loss):
            raise TypeError(
                f"Expected `pixel_loss` to be None or a loss on (input, target), but got {type(pixel_loss).__name__}."
            )
        self.inputs = inputs
        self.averaging = averaging
        self.pixel_loss = default_pixel_loss(inputs) if pixel_loss is None else pixel_loss
        self.weights = checked_weights(weights, self.default_weights)
        self.connectivity = connectivity

    # what follows depends on the data at every step: one clean break in a compiled graph, instead of dozens
    @torch.compiler.disable
    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The weighted sum of the terms, a scalar with graph."""
        wanted = {name: weight for name, weight in self.weights.items() if weight > 0}
        values = self._values(input, target, frozenset(wanted))
        if not wanted:
            return input.as_subclass(torch.Tensor).flatten()[:0].sum()
        return torch.stack([weight * values[name] for name, weight in wanted.items()]).sum()

    @torch.compiler.disable
    def terms(self, input: torch.Tensor, target: torch.Tensor) -> Any:
        """All terms, unweighted, scalars with graph: a NamedTuple."""
        return self.terms_type(**self._values(input, target, frozenset(self.terms_type._fields)))

    def extra_repr(self) -> str:
        """The configuration, for ``repr``."""
        # modules, the pixel loss first among them, show themselves
        return ", ".join(
            f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_") and name != "training"
        )

    @abstractmethod
    def _instance_values(self, volume: Volume, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        """The wanted terms but the pixel loss, for a batch that is not empty."""

    def _values(self, input: torch.Tensor, target: torch.Tensor, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        prepared = self.inputs.prepare(input, target)
        resolve_connectivity(self.connectivity, input.ndim - 2)
        if input.numel() == 0:
            return dict.fromkeys(wanted, prepared.probability.zero())
        volume = self._volume(prepared, wanted)
        values = {}
        if "pixel" in wanted:
            values["pixel"] = self._pixel(input, target, volume)
        if wanted - {"pixel"}:
            values |= self._instance_values(volume, wanted)
        return values

    def _pixel(self, input: torch.Tensor, target: torch.Tensor, volume: Volume) -> torch.Tensor:
        loss, own = self.pixel_loss, replace(self.inputs, target_is_instances=False)
        if isinstance(loss, ImageLoss) and loss.inputs == own:
            # reads the batch as this loss does: no need to prepare it twice
            value = loss.on_volume(volume)
        else:
            value = loss(*self.inputs.pixel_arguments(input, target, loss, volume.prepared.ignored))
        if value.numel() != 1:
            raise ValueError(
                f"Expected `pixel_loss` to return one number, but got shape {tuple(value.shape)}; set its reduction to "
                '"mean" or "sum".'
            )
        return value.as_subclass(torch.Tensor).reshape(())

    def _volume(self, prepared: Prepared, wanted: frozenset[str]) -> Volume:
        return Volume(prepared)


class OverlapLoss(TermsLoss):
    """A ``TermsLoss`` whose instance terms are functions of an ``Overlap``.

    Source: ours. Differentiable in ``input``.

    Args:
        args: as in ``TermsLoss``.
        threshold: predicted instances are components of p >= ``threshold``; in (0, 1).
        min_instance_size: instances of this many voxels or fewer are not scored, on both sides; they still touch.

    Raises:
        ValueError: ``threshold`` is outside (0, 1), ``min_instance_size`` negative; as in ``TermsLoss``.
    """

    def __init__(self, *args: Any, threshold: float, min_instance_size: int) -> None:
        super().__init__(*args)
        self.threshold = checked_fraction("threshold", threshold)
        self.min_instance_size = checked_size("min_instance_size", min_instance_size)

    def _volume(self, prepared: Prepared, wanted: frozenset[str]) -> Volume:
        return Volume(prepared, self.threshold if wanted - {"pixel"} else None)

    def _criteria(self, wanted: frozenset[str]) -> list[Criterion] | None:
        """The criteria that the wanted terms score regions with, or None if a term looks at more than region sums."""
        return None

    def _overlap(self, volume: Volume, wanted: frozenset[str]) -> Overlap:
        criteria = self._criteria(wanted)
        names = None if criteria is None else fused_names(volume, criteria)
        if names is not None:
            return FusedOverlap(volume, self.connectivity, names, self.min_instance_size)
        return Overlap(
            self.inputs.label_target(volume.prepared, self.connectivity),
            volume.label_predicted(self.connectivity),
            volume,
            self.min_instance_size,
        )
