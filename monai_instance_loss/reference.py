"""The published signatures and tuple returns, for scripts that cannot change; new code takes ``losses`` directly.

Source: the code of Rachmadi, Byra, Skibbe, Comput. Biol. Med. 174 (2024) 108414, and of Rachmadi, Poon, Skibbe, MIDL
2023, arXiv 2304.06229: the names of its classes, their arguments with the defaults, and the order of what they return.
The numbers are those of ``losses.InstanceLoss`` and its relatives: the published ones on binary predictions, and with
true gradients on soft ones, where the published code has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch.nn.modules.loss import _Loss

from monai_instance_loss import losses

__all__ = ["ICILoss", "InstanceCenterLoss", "InstanceLoss"]

_Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_CHOICES = {
    "activation": ("sigmoid", "softmax", "none"),
    "reduce_segmentation": ("mean", "sum"),
    "instance_wise_reduce": ("instance", "data"),
    "spatial_dims": (2, 3),
    # said there to be unused and untested
    "weighted_instance_wise": (False,),
    "weighted_fdr": (False,),
}


class _Published(_Loss):
    """What the published classes share; see ``InstanceLoss``."""

    terms_of: ClassVar[type[losses.InstanceLoss]]
    loss_function_pixel: Any
    loss_function_instance: _Criterion
    loss_function_center: _Criterion
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
        """The terms, scalars with graph, in the published order.

        Args:
            outputs: (B, num_out_chn, *spatial), logits, or probabilities with ``activation="none"``.
            labels: (B, 1 or num_out_chn, *spatial), binary.
            cc_label_batch: the connected components of the labels, an instance map of their shape.

        Raises:
            ValueError: shapes that do not fit ``spatial_dims`` and ``num_out_chn``; as in ``losses.InstanceLoss``.
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
        terms = self._loss(cc_label_batch is not None).terms(self._channel(outputs), self._channel(target))
        return tuple(terms)

    def _channel(self, values: torch.Tensor) -> torch.Tensor:
        return values if values.shape[1] == 1 else values[:, self.object_chn : self.object_chn + 1]

    def _loss(self, target_is_instances: bool) -> losses.InstanceLoss:
        return self.terms_of(
            sigmoid=self.activation == "sigmoid",
            pixel_loss=self.loss_function_pixel,
            instance_loss=self.loss_function_instance,
            center_loss=self.loss_function_center,
            # of several classes, the published code takes those that beat an even share
            threshold=1 / self.num_out_chn if self.activation == "softmax" else self.segmentation_threshold,
            center_radius=self.centroid_offset,
            min_instance_size=self.min_instance_size,
            exclude_other_tp=self.instance_wise_loss_no_tp,
            count_as_rate=self.rate_instead_number,
            instance_reduction=self.reduce_segmentation,
            average_over="instance" if self.instance_wise_reduce == "instance" else "sample",
            target_is_instances=target_is_instances,
        )

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


class InstanceLoss(_Published):
    """``losses.InstanceLoss`` behind the published signature; each term is 0 or more.

    Returns (pixel, instance, instance of the outputs, center, false, missed, proximity), scalars with graph, where
    ``losses.InstanceLoss`` returns their weighted sum. Differentiable in ``outputs``.

    Source: Rachmadi, Byra, Skibbe, Comput. Biol. Med. 174 (2024) 108414. Different from the published code: labelling
    is exact, so that ``num_iterations`` has no effect; nothing costs by the instance, so that ``max_cc_out`` and
    ``mul_too_many``, which left predicted components out to save time, have none either; ``smoother`` belongs to the
    loss functions that are passed; soft predictions have gradients. One channel is scored at a time: with
    ``num_out_chn`` above 1, channel ``object_chn`` of the outputs, and of the labels where they have as many.

    Args:
        loss_function_pixel: on (outputs, labels) of the channel, activation included (with softmax: on probabilities).
        loss_function_instance, loss_function_center: on probabilities and binary labels.
        activation: ``"sigmoid"``, ``"softmax"`` or ``"none"`` (probabilities).
        num_out_chn: number of channels of the outputs.
        object_chn: the channel to score.
        spatial_dims: 2 or 3.
        reduce_segmentation: ``"mean"`` or ``"sum"`` over the instances of a sample, with
            ``instance_wise_reduce="data"``.
        instance_wise_reduce: average over all instances of the batch, or over its samples (``"data"``).
        min_instance_size: instances of this many voxels or fewer are not scored.
        segmentation_threshold: predicted components are those of p >= this (softmax: >= 1 / ``num_out_chn``).
        centroid_offset: half-width of the center boxes, in voxels.
        instance_wise_loss_no_tp: ``exclude_other_tp``.
        rate_instead_number: ``count_as_rate``.
        num_iterations, max_cc_out, mul_too_many, smoother: accepted, of no effect.
        weighted_instance_wise, weighted_fdr: False only; unused in the published code.

    Raises:
        ValueError: an option outside of what is listed.

    Example:
        >>> from monai.losses import DiceLoss
        >>> labels = torch.zeros(1, 1, 8, 8)
        >>> labels[0, 0, 1:3, 1:3] = labels[0, 0, 5:7, 5:7] = 1
        >>> outputs = labels.clone()
        >>> outputs[0, 0, 5:7, 5:7] = 0
        >>> dice = DiceLoss()
        >>> loss = InstanceLoss(dice, dice, dice, activation="none", spatial_dims=2)
        >>> pixel, instance, instance_out, center, false, missed, proximity = loss(outputs, labels)
        >>> float(missed)
        1.0
    """

    terms_of = losses.InstanceLoss

    def __init__(
        self,
        loss_function_pixel: _Criterion,
        loss_function_instance: _Criterion,
        loss_function_center: _Criterion,
        activation: str = "sigmoid",
        num_out_chn: int = 1,
        object_chn: int = 1,
        spatial_dims: int = 3,
        reduce_segmentation: str = "mean",
        instance_wise_reduce: str = "instance",
        num_iterations: int = 350,
        max_cc_out: int = 50,
        min_instance_size: int = 0,
        segmentation_threshold: float = 0.5,
        centroid_offset: int = 5,
        mul_too_many: int = 50,
        smoother: float = 1e-07,
        instance_wise_loss_no_tp: bool = True,
        rate_instead_number: bool = False,
        weighted_instance_wise: bool = False,
        weighted_fdr: bool = False,
    ) -> None:
        super().__init__(dict(locals()))


class InstanceCenterLoss(_Published):
    """``losses.InstanceCenterLoss`` behind the published signature; each term is 0 or more.

    Returns (pixel, instance, instance of the outputs, center, false, missed), scalars with graph. Source, arguments,
    differentiability and errors as in ``InstanceLoss``; the order of the positional arguments is the published one.

    Example:
        >>> from monai.losses import DiceLoss
        >>> labels = torch.zeros(1, 1, 8, 8)
        >>> labels[0, 0, 1:3, 1:3] = 1
        >>> dice = DiceLoss()
        >>> terms = InstanceCenterLoss(dice, dice, dice, "none", spatial_dims=2)(labels, labels)
        >>> len(terms), round(float(terms[3]), 4)
        (6, 0.0)
    """

    terms_of = losses.InstanceCenterLoss

    def __init__(
        self,
        loss_function_pixel: _Criterion,
        loss_function_instance: _Criterion,
        loss_function_center: _Criterion,
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


class ICILoss(InstanceCenterLoss):
    """``losses.ICILoss`` behind the published signature; each term is 0 or more.

    Returns (pixel, instance, center, false discovery rate, false, missed), scalars with graph. Source: Rachmadi, Poon,
    Skibbe, MIDL 2023, arXiv 2304.06229. Arguments, differentiability and errors as in ``InstanceLoss``.

    Example:
        >>> from monai.losses import DiceLoss
        >>> labels = torch.zeros(1, 1, 8, 8)
        >>> labels[0, 0, 1:3, 1:3] = 1
        >>> dice = DiceLoss()
        >>> loss = ICILoss(dice, dice, dice, "none", spatial_dims=2)
        >>> pixel, instance, center, fdr, false, missed = loss(labels, labels)
        >>> float(fdr), float(false), float(missed)
        (0.0, 0.0, 0.0)
    """

    terms_of = losses.ICILoss
