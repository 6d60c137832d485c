from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage


@pytest.fixture
def speckle():
    """A (2, 12, 10, 8) mask of many instances of many sizes."""
    noise = np.random.default_rng(0).random((2, 12, 10, 8))
    return (ndimage.gaussian_filter(noise, (0, 0.8, 0.8, 0.8)) > 0.56).astype(np.uint8)
