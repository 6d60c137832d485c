"""What instance losses share: a pixel loss, weighted terms, the terms of the last call, empty and NaN input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import torch
from monai.losses import DeepSupervisionLoss
from torch.nn.modules.loss import _Loss

from monai_instance_loss._checks import checked_count, checked_fraction, checked_weights
from monai_instance_loss.instances.labelling import resolve_connectivity
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.cuda import TableOverlap, table_maps
from monai_instance_loss.losses.engine.eager import eager, refuse_scripting
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.overlap import Overlap, VoxelOverlap
from monai_instance_loss.losses.engine.reduction import Averaging
from monai_instance_loss.losses.engine.region import ImageLoss
from monai_instance_loss.losses.pixel.default import default_pixel_loss
from monai_instance_loss.losses.pixel.foreign import explain_pixel_options

__all__ = ["OverlapLoss", "Term", "TermsLoss", "over_samples"]


class Term(NamedTuple):
    """An instance term: how it is computed, and what it looks at.

    Attributes:
        value: the scalar term of an overlap, given the loss that asks and its options.
        criterion: the loss's attribute that holds the criterion whose sums the term needs, if it needs one.
        looks_at_voxels: whether it needs single voxels, and not only sums over instances.
    """

    value: Callable[[Overlap, Any], torch.Tensor]
    criterion: str | None = None
    looks_at_voxels: bool = False


def over_samples(overlap: Overlap, loss: Any, values: torch.Tensor) -> torch.Tensor:
    """One number from values (B * C,), one for each sample and class, averaged as the loss says."""
    value: torch.Tensor = loss.averaging.samples(values, overlap.shape, overlap.classes_present)
    return value


class TermsLoss(_Loss, ABC):
    """A weighted sum of a pixel loss and instance terms, 0 or more; a subclass names the terms and computes them.

    Source: ours. Differentiable in ``input``.

    Attributes:
        last_terms: name to value, detached, of the terms that the last call computed: those with a weight. For logging
            without a second forward; None before the first call.

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
    # of the terms that weigh something unless the user says otherwise
    default_weights: ClassVar[Mapping[str, float]]

    last_terms: dict[str, torch.Tensor] | None

    __prepare_scriptable__ = refuse_scripting

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = explain_pixel_options(cls.__init__)  # type: ignore[method-assign]

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
        defaults = {name: self.default_weights.get(name, 0.0) for name in self.terms_type._fields}
        self.weights = checked_weights(weights, defaults)
        self.connectivity = connectivity
        self.last_terms = None

    # what follows depends on the data at every step: one clean break in a compiled graph, instead of dozens
    @eager
    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The weighted sum of the terms, a scalar with graph."""
        wanted = {name: weight for name, weight in self.weights.items() if weight > 0}
        values = self._values(input, target, frozenset(wanted))
        if not wanted:
            return input.as_subclass(torch.Tensor).flatten()[:0].sum()
        return torch.stack([weight * values[name] for name, weight in wanted.items()]).sum()

    @eager
    def terms(self, input: torch.Tensor, target: torch.Tensor) -> Any:
        """All terms, unweighted, scalars with graph: a NamedTuple."""
        return self.terms_type(**self._values(input, target, frozenset(self.terms_type._fields)))

    def extra_repr(self) -> str:
        """The configuration, for ``repr``."""
        # modules, the pixel loss first among them, show themselves
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if name not in ("training", "last_terms"))

    @abstractmethod
    def _instance_values(self, batch: Batch, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        """The wanted terms but the pixel loss, for a batch that is not empty."""

    def _threshold(self, wanted: frozenset[str]) -> float | None:
        """The probability from which on a voxel is predicted foreground, or None where no term asks."""
        return None

    def _values(self, input: torch.Tensor, target: torch.Tensor, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        if [getattr(each, "ndim", None) for each in (input, target)] == [6, 5]:
            # what DynUNet stacks in training; in 2D it could be a volume whose target lacks its channel
            levels = [self._level_values(level, target, wanted) for level in input.unbind(1)]
            weights = DeepSupervisionLoss(self).get_weights(len(levels))
            values = {
                name: torch.stack([weight * level[name] for weight, level in zip(weights, levels, strict=True)]).sum()
                for name in wanted
            }
        else:
            values = self._level_values(input, target, wanted)
        self.last_terms = {name: value.detach() for name, value in values.items()}
        return values

    def _level_values(
        self, input: torch.Tensor, target: torch.Tensor, wanted: frozenset[str]
    ) -> dict[str, torch.Tensor]:
        batch = self.inputs.prepare(input, target, self._threshold(wanted))
        resolve_connectivity(self.connectivity, input.ndim - 2)
        values: dict[str, torch.Tensor] = {}
        if input.numel() == 0:
            values = dict.fromkeys(wanted, batch.zero())
        else:
            if "pixel" in wanted:
                values["pixel"] = self._pixel(input, target, batch)
            if wanted - {"pixel"}:
                values |= self._instance_values(batch, wanted)
        return values

    def _pixel(self, input: torch.Tensor, target: torch.Tensor, batch: Batch) -> torch.Tensor:
        loss, own = self.pixel_loss, replace(self.inputs, target_is_instances=False)
        if isinstance(loss, ImageLoss) and loss.inputs == own:
            # reads the batch as this loss does: no need to prepare it twice
            value = loss.on_batch(batch)
        else:
            value = loss(*self.inputs.pixel_arguments(input, target, loss))
        if value.numel() != 1:
            raise ValueError(
                f"Expected `pixel_loss` to return one number, but got shape {tuple(value.shape)}; set its reduction to "
                '"mean" or "sum".'
            )
        return value.as_subclass(torch.Tensor).reshape(())


class OverlapLoss(TermsLoss):
    """A ``TermsLoss`` whose instance terms are functions of an ``Overlap``; a subclass lists them.

    Source: ours. Differentiable in ``input``.

    Args:
        inputs: how to read input and target.
        averaging: how to average over instances, samples and classes.
        pixel_loss: the pixel loss, None for the default.
        weights: term name to weight; terms not named keep the subclass's default.
        connectivity: as in ``label_instances``.
        threshold: predicted instances are components of p >= ``threshold``; in (0, 1).
        min_instance_size: instances of this many voxels or fewer are not scored, on both sides; they still touch.

    Raises:
        TypeError: ``pixel_loss`` is not callable, a number is none.
        ValueError: ``weights`` names no term or is negative, ``threshold`` is outside (0, 1), ``min_instance_size``
            negative.
    """

    instance_terms: ClassVar[Mapping[str, Term]]

    def __init__(
        self,
        inputs: InputOptions,
        averaging: Averaging,
        pixel_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None,
        weights: Mapping[str, float] | None,
        connectivity: int | None,
        threshold: float,
        min_instance_size: int,
    ) -> None:
        super().__init__(inputs, averaging, pixel_loss, weights, connectivity)
        self.threshold = checked_fraction("threshold", threshold)
        self.min_instance_size = checked_count("min_instance_size", min_instance_size)

    def _threshold(self, wanted: frozenset[str]) -> float | None:
        return self.threshold if wanted - {"pixel"} else None

    def _instance_values(self, batch: Batch, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        terms = {name: self.instance_terms[name] for name in self.terms_type._fields if name in wanted - {"pixel"}}
        overlap = self._overlap(batch, list(terms.values()))
        return {name: term.value(overlap, self) * overlap.finite for name, term in terms.items()}

    def _overlap(self, batch: Batch, terms: list[Term]) -> Overlap:
        if not any(term.looks_at_voxels for term in terms):
            criteria = [getattr(self, term.criterion) for term in terms if term.criterion is not None]
            if (names := table_maps(batch, criteria)) is not None:
                return TableOverlap(batch, self.connectivity, names, self.min_instance_size)
        return VoxelOverlap(batch, self.connectivity, self.min_instance_size)
