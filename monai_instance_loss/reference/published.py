"""What the published classes share: parameters that can be printed and edited, and terms in a fixed order."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.nn.modules.loss import _Loss

from monai_instance_loss import losses
from monai_instance_loss.reference.as_called import Criterion, as_called
from monai_instance_loss.reference.small_instances import remove_small

__all__ = ["Published"]

_CHOICES = {
    "activation": ("sigmoid", "softmax", "none"),
    "reduce_segmentation": ("mean", "sum"),
    "instance_wise_reduce": ("instance", "data"),
    "spatial_dims": (2, 3),
    # said there to be unused and untested
    "weighted_instance_wise": (False,),
    "weighted_fdr": (False,),
}


class Published(_Loss):
    """A published class; a subclass names its terms and the class of ``losses`` that computes them, each 0 or more.

    Source: the code of Rachmadi, Byra, Skibbe, Comput. Biol. Med. 174 (2024) 108414, and of Rachmadi, Poon, Skibbe,
    MIDL 2023, arXiv 2304.06229. Differentiable in the outputs.

    Args:
        parameters: name to value of the arguments of the published constructor.

    Raises:
        ValueError: a value that is not among those the published class knows, or of an option left unused there.
    """

    terms_of: ClassVar[type[losses.InstanceLoss]]
    order: ClassVar[tuple[str, ...]]
    loss_function_pixel: Any
    loss_function_instance: Criterion
    loss_function_center: Criterion
    activation: str
    num_out_chn: int
    object_chn: int
    spatial_dims: int
    reduce_segmentation: Any
    instance_wise_reduce: str
    segmentation_threshold: float
    min_instance_size: int
    centroid_offset: int
    instance_wise_loss_no_tp: bool
    rate_instead_number: bool

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__()
        self._names = [name for name in parameters if name not in ("self", "__class__")]
        self._set({name: parameters[name] for name in self._names})

    def print_parameters(self) -> None:
        """Print every parameter and its value."""
        print("\nVALUES OF PARAMETERS", *(f" -> {name}: {getattr(self, name)}" for name in self._names), sep="\n")

    def edit_parameters(self, **parameters: Any) -> None:
        """Change the parameters that are given and not None; they count from the next call on.

        Raises:
            TypeError: a name that the constructor does not have.
            ValueError: a value that it refuses; then nothing is changed.
        """
        unknown = sorted(set(parameters) - set(self._names))
        if unknown:
            raise TypeError(f"Expected `parameters` to be among {self._names}, but got {unknown}.")
        self._set({name: value for name, value in parameters.items() if value is not None})

    def forward(
        self, outputs: torch.Tensor, labels: torch.Tensor, cc_label_batch: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """The terms, scalars with graph, in the published order. Differentiable in ``outputs``.

        Args:
            outputs: (B, num_out_chn, *spatial), any float type: logits, or probabilities with ``activation="none"``.
            labels: (B, 1 or num_out_chn, *spatial), binary, any type.
            cc_label_batch: the connected components of the labels, an instance map of their shape (0 background, whole
                numbers above), which then takes their place; None finds them.

        Raises:
            TypeError: ``outputs`` is not a float tensor, the target is not a tensor of real numbers, a loss function is
                not callable, ``min_instance_size`` or ``centroid_offset`` is not an integer, or
                ``segmentation_threshold`` is not a number.
            ValueError: shapes that do not fit ``spatial_dims``, ``num_out_chn`` or each other, labels that are not
                binary or a map that is not of whole numbers, probabilities outside [0, 1], a loss function that does
                not return one number, a negative size, or a threshold outside (0, 1).
            RuntimeError: on CUDA, labels that are not binary.
        """
        for name, value in (("outputs", outputs), ("labels", labels)):
            if value.ndim != self.spatial_dims + 2:
                raise ValueError(
                    f"Expected `{name}` to have {self.spatial_dims + 2} dimensions with "
                    f"spatial_dims={self.spatial_dims}, but got shape {tuple(value.shape)}."
                )
        if outputs.shape[1] != self.num_out_chn:
            raise ValueError(
                f"Expected `outputs` to have num_out_chn={self.num_out_chn} channels, but got {outputs.shape[1]}."
            )
        target = labels if cc_label_batch is None else cc_label_batch
        if self.activation == "softmax":
            outputs = torch.softmax(outputs, 1)
        return self._terms(self._channel(outputs), self._channel(target), target_is_instances=target is not labels)

    def _channel(self, values: torch.Tensor) -> torch.Tensor:
        return values if values.shape[1] == 1 else values[:, self.object_chn : self.object_chn + 1]

    def _terms(
        self, outputs: torch.Tensor, target: torch.Tensor, target_is_instances: bool
    ) -> tuple[torch.Tensor, ...]:
        counting: dict[str, Any] = {
            # of several classes, the published code takes those that beat an even share
            "threshold": 1 / self.num_out_chn if self.activation == "softmax" else self.segmentation_threshold,
            "count_as_rate": self.rate_instead_number,
            "target_is_instances": target_is_instances,
        }
        scoring: dict[str, Any] = {
            "instance_loss": as_called(self.loss_function_instance),
            "center_loss": as_called(self.loss_function_center),
            "center_radius": self.centroid_offset,
            "min_instance_size": self.min_instance_size,
            "exclude_other_tp": self.instance_wise_loss_no_tp,
            "instance_reduction": self.reduce_segmentation,
            "average_over": "instance" if self.instance_wise_reduce == "instance" else "sample",
        }
        whole: dict[str, Any] = {"sigmoid": self.activation == "sigmoid", "pixel_loss": self.loss_function_pixel}
        if not self.min_instance_size:
            return self._in_order(self.terms_of(**counting, **scoring, **whole).terms(outputs, target), {})
        large, counts = self.terms_of(**counting, **scoring), self.terms_of(**counting)
        terms = self.terms_of(**counting, **whole).terms(outputs, target)
        p = torch.sigmoid(outputs) if self.activation == "sigmoid" else outputs
        p = p.to(torch.promote_types(p.dtype, torch.float32))
        removed = remove_small(p, target, counting["threshold"], self.min_instance_size)
        others = {
            "pixel": terms,
            "fdr": terms,
            # no true instance is too small to be missed, no predicted one too small to be false
            "missed": counts.terms(removed.p, target),
            "false": counts.terms(p, removed.target),
        }
        return self._in_order(large.terms(removed.p, target), others)

    def _in_order(self, terms: Any, others: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        """The published terms in the published order, whatever else ``terms`` holds; some of them from ``others``."""
        return tuple(getattr(others.get(name, terms), name) for name in self.order)

    def _set(self, parameters: dict[str, Any]) -> None:
        for name, allowed in _CHOICES.items():
            if name in parameters and parameters[name] not in allowed:
                raise ValueError(f"Expected `{name}` to be one of {allowed}, but got {parameters[name]!r}.")
        merged: dict[str, Any] = {name: getattr(self, name, None) for name in self._names} | parameters
        if merged["activation"] == "softmax" and merged["num_out_chn"] < 2:
            raise ValueError(
                f'Expected `num_out_chn` to be 2 or more with activation="softmax", but got {merged["num_out_chn"]}.'
            )
        if merged["num_out_chn"] > 1 and merged["object_chn"] not in range(merged["num_out_chn"]):
            raise ValueError(
                f"Expected `object_chn` to be in 0..{merged['num_out_chn'] - 1}, but got {merged['object_chn']}."
            )
        for name, value in parameters.items():
            setattr(self, name, value)
