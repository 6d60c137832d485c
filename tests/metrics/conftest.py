from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage


def _naive_counts(y_pred: np.ndarray, y: np.ndarray, connectivity: int | None) -> tuple[int, int, int, int]:
    """Detected, missed, matched and false instances of one sample's channel, pair by pair."""
    structure = ndimage.generate_binary_structure(y.ndim, connectivity or y.ndim)
    true, n_true = ndimage.label(y, structure)
    pred, n_pred = ndimage.label(y_pred, structure)
    detected, matched = set(), set()
    for i in range(1, n_true + 1):
        for j in range(1, n_pred + 1):
            if ((true == i) & (pred == j)).any():
                detected.add(i)
                matched.add(j)
    return len(detected), n_true - len(detected), len(matched), n_pred - len(matched)


@pytest.fixture(scope="session")
def naive_counts() -> Callable[[np.ndarray, np.ndarray, int | None], tuple[int, int, int, int]]:
    return _naive_counts
