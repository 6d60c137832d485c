from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

Case = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def random_cases() -> Callable[..., list[Case]]:
    """Cases (1, 14, 12, 10) of blobs: probabilities that find some, miss some and see others that are not there."""

    def make(count: int, seed: int = 0, ignored: bool = False) -> list[Case]:
        rng = np.random.default_rng(seed)
        cases = []
        for _ in range(count):
            shared, own = (ndimage.gaussian_filter(rng.standard_normal((14, 12, 10)), 0.9) for _ in range(2))
            y = (shared > np.quantile(shared, 0.94)).astype(np.uint8)
            if ignored:
                y[6:8] = 2
            score = shared + 0.6 * own
            probability = 1 / (1 + np.exp(-6 * (score - np.quantile(score, 0.93)) / score.std()))
            cases.append((probability.astype(np.float32)[None], y[None]))
        return cases

    return make
