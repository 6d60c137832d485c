"""Random pairs of label maps, made from a seed by numpy alone: the cases that official scorers and presets score.

The scorers run in environments of their own, with old versions of numpy; the legacy generator gives all of them the
same numbers, and ``checksum`` tells when it does not.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

SPACINGS = [(1, 1, 1), (0.5, 0.75, 3), (0.9375, 0.9375, 3), (2, 2, 3), (1, 1, 5), (1.2, 1.2, 1.2)]
SHAPES = [(24, 20, 16), (20, 24, 12), (16, 16, 24), (32, 18, 9)]
KINDS = ["lesions", "empty", "lesions", "no reference", "lesions", "no prediction"]
KINDS += ["specks", "confluent", "near", "same", "apart", "halves"]
CASES = 144


class Case(NamedTuple):
    """``y_pred`` and ``y`` are label maps uint8 (X, Y, Z) of 0 to 3; the spacing is exact in single precision."""

    y_pred: np.ndarray
    y: np.ndarray
    spacing_mm: tuple[float, ...]


def cases() -> list[Case]:
    """All cases, in the order of the stored numbers."""
    return [_case(seed) for seed in range(CASES)]


def probabilities(made: list[Case]) -> list[np.ndarray]:
    """Probabilities float32 where the prediction is, in tenths, so that some are equal."""
    random = np.random.RandomState(0)
    return [((case.y_pred > 0) * random.randint(1, 11, case.y.shape) / 10).astype(np.float32) for case in made]


def checksum(made: list[Case]) -> int:
    """A number that changes with any voxel."""
    return zlib.crc32(b"".join(case.y_pred.tobytes() + case.y.tobytes() for case in made))


def _case(seed: int) -> Case:
    random = np.random.RandomState(seed)
    kind, shape = KINDS[seed % len(KINDS)], SHAPES[random.randint(len(SHAPES))]
    spacing = tuple(float(np.float32(step)) for step in SPACINGS[random.randint(len(SPACINGS))])
    y, y_pred = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    if kind == "specks":
        y[random.rand(*shape) < 0.01] = random.randint(1, 4)
        y_pred[random.rand(*shape) < 0.01] = random.randint(1, 4)
        y_pred[(y > 0) & (random.rand(*shape) < 0.5)] = 1
    elif kind == "confluent":
        y, y_pred = _blurred(random, shape)
    elif kind == "halves":
        _halves(random, y, y_pred)
    elif kind != "empty":
        centers = [random.randint(0, shape) for _ in range(random.randint(2, 10))]
        largest = 2 if kind == "near" else 5
        for center in centers:
            _paint(random, y, center, random.randint(1, largest + 1))
            if random.rand() < 0.8:
                _paint(random, y_pred, center + random.randint(-2, 3, 3), random.randint(1, largest + 1))
        for _ in range(random.randint(0, 4)):
            _paint(random, y_pred, random.randint(0, shape), random.randint(1, 3))
    if kind == "apart":
        y_pred[(y > 0) | (np.roll(y, 1, 0) > 0)] = 0
    y_pred = y.copy() if kind == "same" else y_pred
    return Case(y_pred * (kind != "no prediction"), y * (kind != "no reference"), spacing)


def _paint(random: np.random.RandomState, volume: np.ndarray, center: np.ndarray, radius: int) -> None:
    """A ball with shells of labels 2, 1 and 3, or of some of them; it may stick out of the image."""
    grid = np.ogrid[tuple(map(slice, volume.shape))]
    squares = sum((axis - middle) ** 2 for axis, middle in zip(grid, center, strict=True))
    labels = [(radius, 2), (radius - 1, 1), (radius - 2, 3)]
    for inner, label in labels[random.randint(2) :]:
        if inner >= 0:
            volume[squares <= inner * inner] = label


def _blurred(random: np.random.RandomState, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Lesions that flow into each other, and a noisy copy."""
    noise, other = random.rand(*shape), random.rand(*shape)
    for axis in range(3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
        other = other + np.roll(other, 1, axis) + np.roll(other, -1, axis)
    level, other_level = np.sort(noise.ravel())[-noise.size // 5], np.sort((noise + other).ravel())[-noise.size // 5]
    label = random.randint(1, 4, shape)
    return ((noise > level) * label).astype(np.uint8), ((noise + other > other_level) * label).astype(np.uint8)


def _halves(random: np.random.RandomState, y: np.ndarray, y_pred: np.ndarray) -> None:
    """Boxes of which predictions hold a fifth, a half or all, alone or with a second one: overlaps at thresholds."""
    for start in range(0, y.shape[0] - 6, 7):
        width = random.randint(1, 5)
        y[start : start + 5, 1 : 1 + width, 2:4] = 3
        cut = random.choice([1, 2, 3, 4, 5])
        y_pred[start : start + cut, 1 : 1 + width, 2:4] = 3
        if random.rand() < 0.5 and cut < 4:
            y_pred[start + cut + 1 : start + 6, 1 : 1 + width, 2:4] = 1
        wide = random.randint(2, 6)
        y[start : start + 2, 9 : 9 + wide, 6] = y[start + 3 : start + 5, 9 : 9 + wide, 6] = 1
        y_pred[start : start + 5, 9 : 9 + wide, 6] = 1
    # the best pair of all takes the only partners of two others
    y[0:8, 15, 8] = y[10:14, 15, 8] = y_pred[0:2, 15, 8] = y_pred[3:12, 15, 8] = 3
