"""The dictionary transform of an operating point: the array transform, by key."""

from __future__ import annotations

import os
from collections.abc import Sequence

from monai.config import KeysCollection

from monai_instance_loss.operating_points import OperatingPoint
from monai_instance_loss.transforms.dictionary import Mapped
from monai_instance_loss.transforms.operating_point import InstanceOperatingPoint

__all__ = ["InstanceOperatingPointD", "InstanceOperatingPointDict", "InstanceOperatingPointd"]


class InstanceOperatingPointd(Mapped):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.InstanceOperatingPoint`; see there.

    Args:
        keys: the maps of probabilities.
        allow_missing_keys: whether a map may be missing.

    Example:
        >>> import numpy as np
        >>> InstanceOperatingPointd("pred", OperatingPoint(0.3))({"pred": np.array([[[0.4, 0.2]]])})
        {'pred': array([[[1, 0]]], dtype=uint8)}
    """

    backend = InstanceOperatingPoint.backend

    def __init__(
        self,
        keys: KeysCollection,
        point: OperatingPoint | str | os.PathLike[str],
        spacing_mm: Sequence[float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, InstanceOperatingPoint(point, spacing_mm), None, allow_missing_keys)


InstanceOperatingPointD = InstanceOperatingPointDict = InstanceOperatingPointd
