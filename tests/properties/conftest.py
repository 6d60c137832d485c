from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from monai_instance_loss import losses
from monai_instance_loss.instances import label_instances
from monai_instance_loss.losses import pixel


@pytest.fixture(scope="session")
def draw_shape() -> Callable[[np.random.Generator], tuple[int, ...]]:
    def draw(rng: np.random.Generator) -> tuple[int, ...]:
        dims = rng.integers(2, 4)
        largest = 13 if dims == 2 else 7
        return (*rng.integers(1, 4, 2).tolist(), *rng.integers(1, largest, dims).tolist())

    return draw


@pytest.fixture(scope="session")
def draw_mask() -> Callable[[np.random.Generator, tuple[int, ...]], torch.Tensor]:
    """Noise of any density, or blobs; bool."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
        density = rng.choice([0.0, 0.02, 0.1, 0.3, 0.6, 1.0])
        noise = rng.random(shape)
        if rng.random() < 0.3:
            noise = ndimage.uniform_filter(noise, (1, 1, *[2] * (len(shape) - 2)))
            return torch.from_numpy(noise <= np.quantile(noise, density))
        return torch.from_numpy(noise < density)

    return draw


@pytest.fixture(scope="session")
def relaid() -> Callable[[np.random.Generator, torch.Tensor], torch.Tensor]:
    """The same values in another type, in another order in memory, in a MetaTensor."""

    def relay(rng: np.random.Generator, mask: torch.Tensor) -> torch.Tensor:
        types = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
        types += [torch.float16, torch.bfloat16, torch.float32, torch.float64]
        mask = mask.to(types[rng.integers(len(types))])
        layout = rng.integers(4)
        if layout == 1:
            mask = mask.to(memory_format=torch.channels_last if mask.ndim == 4 else torch.channels_last_3d)
        elif layout == 2:
            mask = mask.transpose(0, -1).contiguous().transpose(0, -1)
        elif layout == 3:
            mask = torch.stack([mask, 1 - mask if mask.dtype != torch.bool else ~mask], -1)[..., 0]
        return MetaTensor(mask) if rng.random() < 0.3 else mask

    return relay


@pytest.fixture(scope="session")
def naive_labels() -> Callable[[np.ndarray, int | None], np.ndarray]:
    """scipy's components of one image, numbered by their first voxel."""

    def label(image: np.ndarray, connectivity: int | None = None) -> np.ndarray:
        found, count = ndimage.label(image, ndimage.generate_binary_structure(image.ndim, connectivity or image.ndim))
        order = sorted(range(1, count + 1), key=lambda k: np.flatnonzero(found == k)[0])
        return np.array([0, *(np.argsort(order) + 1)])[found]

    return label


INSTANCE = [
    losses.InstanceLoss,
    losses.InstanceCenterLoss,
    losses.ICILoss,
    losses.SoftInstanceF1Loss,
    losses.BlobLoss,
    losses.CCLoss,
    losses.BiCCLoss,
]
PIXEL = [
    kind
    for kind in map(vars(pixel).get, pixel.__all__)
    if isinstance(kind, type) and issubclass(kind, losses.ImageLoss) and kind is not pixel.CompoundRegionLoss
]
THRESHOLDS = [0.1, 0.3, 0.5]


def softmax(x: torch.Tensor) -> torch.Tensor:
    return x.softmax(1)


# what makes probabilities of the input, by the option that says so
ACTIVATIONS = {"sigmoid": torch.sigmoid, "softmax": softmax, "other_act": torch.sigmoid, "none": torch.clone}


def slow_criterion(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (p - y).square().mean() / (0.1 + y.mean())


def draw_criterion(rng: np.random.Generator) -> object:
    kinds = [kind for kind in PIXEL if issubclass(kind, losses.RegionLoss)]
    return [None, None, kinds[rng.integers(len(kinds))](), slow_criterion][rng.choice(4, p=[0.3, 0.3, 0.3, 0.1])]


def draw_weights(rng: np.random.Generator, kind: type) -> dict[str, float]:
    names = kind.terms_type._fields
    drawn = {name: float(rng.choice([0.0, 0.5, 1.0, 2.0])) for name in names}
    return drawn | {names[rng.integers(len(names))]: 1.0}


# what an argument is drawn from, by its name, given the generator and the number of spatial axes
DRAWN = {
    "connectivity": lambda rng, dims: [None, 1, 2][rng.integers(3)],
    "threshold": lambda rng, dims: float(rng.choice(THRESHOLDS)),
    "reduction": lambda rng, dims: ["mean", "sum"][rng.integers(2)],
    "spacing_mm": lambda rng, dims: [None, (0.9, 1.1, 3.0)[:dims]][rng.integers(2)],
    "classes": lambda rng, dims: ["present", "all"][rng.integers(2)],
    "per_image": lambda rng, dims: bool(rng.integers(2)),
    "normalize": lambda rng, dims: bool(rng.integers(2)),
}
DRAWN_FOR_INSTANCES = DRAWN | {
    "instance_loss": lambda rng, dims: draw_criterion(rng),
    "center_loss": lambda rng, dims: draw_criterion(rng),
    "min_instance_size": lambda rng, dims: int(rng.integers(3)),
    "center_radius": lambda rng, dims: int(rng.integers(4)),
    "exclude_other_tp": lambda rng, dims: bool(rng.integers(2)),
    "count_as_rate": lambda rng, dims: bool(rng.integers(2)),
    "instance_reduction": lambda rng, dims: ["mean", "sum"][rng.integers(2)],
    "average_over": lambda rng, dims: ["instance", "sample"][rng.integers(2)],
    "proximity": lambda rng, dims: ["published", "mean"][rng.integers(2)],
    "box_distance": lambda rng, dims: ["diou", "giou"][rng.integers(2)],
    "inverse_size_weighting": lambda rng, dims: bool(rng.integers(2)),
    "alpha": lambda rng, dims: float(rng.choice([0.0, 0.3, 1.0])),
}


@dataclass(frozen=True)
class Case:
    """A loss with its options, and an input and a target (0 and 1, of the type of the input) that fit them."""

    kind: type[torch.nn.Module]
    options: dict[str, Any]
    input: torch.Tensor
    target: torch.Tensor

    @property
    def has_terms(self) -> bool:
        return self.kind in INSTANCE

    @property
    def activation(self) -> str:
        return next((name for name in ("sigmoid", "softmax", "other_act") if self.options.get(name)), "none")

    @property
    def p(self) -> torch.Tensor:
        return ACTIVATIONS[self.activation](self.input)

    def having(self, **options: object) -> Case:
        return replace(self, options=self.options | options)

    def weighing(self, **weights: float) -> Case:
        """The same with these weights, of the terms that the loss has."""
        if not self.has_terms:
            return self
        known = {name: value for name, value in weights.items() if name in self.kind.terms_type._fields}
        return self.having(weights=self.options["weights"] | known)

    def without_monai(self) -> Case:
        """The same without the pixel loss where that is MONAI's, which computes in the target's type and layout."""
        return self if self.activation == "sigmoid" else self.weighing(pixel=0.0)

    def depends_on_ties(self, *masks: torch.Tensor) -> bool:
        """Whether the loss has cells, and a voxel is as near to one component of a mask as to another."""
        if not issubclass(self.kind, losses.CCLoss):
            return False
        for mask in masks:
            for labels in label_instances(mask, self.options.get("connectivity")).labels.flatten(0, 1).numpy():
                ids = np.unique(labels[labels > 0])
                sampling = self.options.get("spacing_mm")
                maps = np.sort([ndimage.distance_transform_edt(labels != k, sampling) for k in ids], axis=0)
                if len(ids) > 1 and np.isclose(maps[0], maps[1]).any():
                    return True
        return False

    def loss(self) -> torch.nn.Module:
        return self.kind(**self.options)

    def result(self, input: torch.Tensor | None = None, target: torch.Tensor | None = None) -> list[torch.Tensor]:
        """The value and its gradient, of other tensors where they are given."""
        x = (self.input if input is None else input).detach().requires_grad_()
        value = self.loss()(x, self.target if target is None else target)
        value.backward()
        return [value.detach(), x.grad]


def draw_logits(rng: np.random.Generator, target: torch.Tensor, activation: str) -> torch.Tensor:
    """Logits (float64) of predictions from none to all, and of no probability that rounding takes over a threshold."""
    shape = target.shape
    noise = rng.normal(size=shape)
    if rng.random() < 0.5:
        noise = 2 * ndimage.uniform_filter(noise, (1, 1, *[2] * (len(shape) - 2)))
    shift = rng.choice([-12.0, -4.0, -2.0, 0.0, 12.0], p=[0.05, 0.4, 0.4, 0.1, 0.05])
    logits = torch.from_numpy(rng.choice([1.0, 3.0]) * noise + shift) + rng.choice([0.0, 3.0]) * target
    while True:
        p = ACTIVATIONS["sigmoid" if activation == "none" else activation](logits)
        near = torch.stack([(p - threshold).abs() < 1e-3 for threshold in THRESHOLDS]).any(0)
        if not near.any():
            return logits
        logits = torch.where(near, logits + torch.from_numpy(rng.normal(size=shape)), logits)


def draw_options(rng: np.random.Generator, kind: type, dims: int) -> dict[str, Any]:
    drawn = DRAWN_FOR_INSTANCES if kind in INSTANCE else DRAWN
    known = [name for name in inspect.signature(kind).parameters if name in drawn]
    options = {name: drawn[name](rng, dims) for name in known if rng.random() < 0.5}
    if options.get("instance_loss") is slow_criterion:
        # has no sums that could be weighed
        options.pop("inverse_size_weighting", None)
    if kind in INSTANCE:
        options["weights"] = draw_weights(rng, kind)
    return options


@pytest.fixture(scope="session")
def draw_case(
    draw_shape: Callable[[np.random.Generator], tuple[int, ...]],
    draw_mask: Callable[[np.random.Generator, tuple[int, ...]], torch.Tensor],
) -> Callable[..., Case]:
    """Any loss, or any loss with instance terms, in any configuration, on any image, or on one of so many channels."""

    def draw(
        rng: np.random.Generator,
        instance: bool | None = None,
        activation: str | None = None,
        channels: int | None = None,
    ) -> Case:
        kinds = INSTANCE if instance or (instance is None and rng.random() < 0.5) else PIXEL
        kind = kinds[rng.integers(len(kinds))]
        shape = list(draw_shape(rng))
        if len(shape) == 5 and rng.random() < 0.05:
            shape[2:] = rng.integers(1, 13, 3).tolist()
        shape[1] = channels or shape[1]
        # of one channel there is no softmax
        activation = activation or list(ACTIVATIONS)[rng.choice(4, p=[0.5, 0.3, 0.1, 0.1])]
        activation = "sigmoid" if activation == "softmax" and shape[1] == 1 else activation
        options = draw_options(rng, kind, len(shape) - 2)
        if shape[1] > 1 and rng.random() < 0.3:
            options["include_background"] = False
        target = draw_mask(rng, tuple(shape))
        if activation == "softmax":
            first = torch.cat([~target[:, 1:].any(1, keepdim=True), target[:, 1:]], 1)
            target = first & (first.cumsum(1) == 1)
        logits = draw_logits(rng, target, activation)
        if activation == "none":
            return Case(kind, options, logits.sigmoid(), target.double())
        options[activation] = torch.sigmoid if activation == "other_act" else True
        return Case(kind, options, logits, target.double())

    return draw
