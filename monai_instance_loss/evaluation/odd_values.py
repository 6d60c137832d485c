"""Values that a mask or a map should not hold: counted while a file is read, and then named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss.evaluation.header import Header

__all__ = ["IGNORED", "LabelMapError", "OddValues"]

# voxels of a label map that are not scored; labels are below
IGNORED = 2**16 - 1
# more are no labels, but grey values
_MOST_LABELS = 200


class LabelMapError(ValueError):
    """A file that should be a binary mask is a map of labels.

    Attributes:
        labels: those in it, in increasing order.
    """

    def __init__(self, message: str, labels: tuple[int, ...]) -> None:
        super().__init__(message, labels)
        self.labels = labels

    def __str__(self) -> str:
        return str(self.args[0])


class OddValues:
    """Values that a file should not hold: how many, the first in raster order, and those that may be labels."""

    def __init__(self, header: Header) -> None:
        self.path, self.shape = header.path, header.shape
        self.count, self.first, self.value = 0, math.prod(header.shape), ""
        self.labels: set[int] | None = set()

    def note(self, values: NDArray[Any], start: int, odd: NDArray[np.bool_]) -> None:
        """Keep what is odd among the values of a file from voxel ``start`` on; files count the first axis first."""
        index = np.flatnonzero(odd)
        if not index.size:
            return
        self.count += index.size
        raster = np.ravel_multi_index(np.unravel_index(index + start, self.shape, order="F"), self.shape)
        k = int(raster.argmin())
        if raster[k] < self.first:
            # str, as formatting would show a float32 with the digits of a double
            self.first, self.value = int(raster[k]), str(values[index[k]])
        if self.labels is not None:
            found = np.unique(values[index])
            if len(found) > _MOST_LABELS or not ((found > 0) & (found < IGNORED) & (found == np.floor(found))).all():
                self.labels = None
            else:
                self.labels |= set(map(int, found))

    def join(self, other: OddValues) -> None:
        """Count what another one has too."""
        self.count += other.count
        if other.first < self.first:
            self.first, self.value = other.first, other.value
        self.labels = None if self.labels is None or other.labels is None else self.labels | other.labels

    def check(self, wanted: str, binary: bool = False) -> None:
        """Refuse a file that has any.

        Raises:
            ValueError: it has; ``LabelMapError`` where a ``binary`` one was wanted and all are labels.
        """
        if not self.count:
            return
        place = tuple(map(int, np.unravel_index(self.first, self.shape)))
        message = (
            f"Expected {self.path} to hold {wanted}, but got {self.value} at voxel {place}, {self.count} such voxels "
            "in all."
        )
        if binary and self.labels and len(self.labels) <= _MOST_LABELS:
            raise LabelMapError(message, tuple(sorted(self.labels)))
        raise ValueError(message)
