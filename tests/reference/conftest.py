from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
# in the order of the columns of the stored numbers
ORDER = {
    "InstanceLoss": ("pixel", "instance", "instance_pred", "center", "false", "missed", "proximity"),
    "InstanceCenterLoss": ("pixel", "instance", "instance_pred", "center", "false", "missed"),
    "ICILoss": ("pixel", "instance", "center", "fdr", "false", "missed"),
}


@pytest.fixture(scope="session")
def naive() -> ModuleType:
    """``naive.py`` beside this file; test folders are no packages, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("monai_instance_loss_tests_naive_reference", HERE / "naive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class PublishedCase:
    """What the published code returned on a binary batch: class to term to number."""

    prediction: torch.Tensor
    target: torch.Tensor
    criterion: str
    options: dict[str, Any]
    expected: dict[str, dict[str, float]]


@pytest.fixture(scope="session")
def published_cases() -> list[PublishedCase]:
    """Numbers of the published code, run on random batches with activation "none" and no cap on instances."""
    with np.load(HERE / "data" / "published.npz") as archive:
        stored = dict(archive)
    sizes = [tuple(int(n) for n in shape if n) for shape in stored["shapes"]]
    bits = np.unpackbits(stored["bits"], count=2 * sum(int(np.prod(shape)) for shape in sizes))
    options = (
        "centroid_offset",
        "min_instance_size",
        "instance_wise_loss_no_tp",
        "rate_instead_number",
        "reduce_segmentation",
        "instance_wise_reduce",
    )
    cases, start = [], 0
    for i, shape in enumerate(sizes):
        length = 2 * int(np.prod(shape))
        pair = torch.from_numpy(bits[start : start + length].astype(np.float32)).view(2, shape[0], 1, *shape[1:])
        start += length
        numbers = iter(stored["expected"][i].tolist())
        cases.append(
            PublishedCase(
                prediction=pair[1],
                target=pair[0],
                criterion=str(stored["criterion"][i]),
                options={name: stored[name][i].item() for name in options},
                expected={name: {term: next(numbers) for term in terms} for name, terms in ORDER.items()},
            )
        )
    return cases
