from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

HERE = Path(__file__).parent


def beside(name: str) -> ModuleType:
    """A module beside this file; test folders are no packages, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location(f"monai_instance_loss_tests_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def naive() -> ModuleType:
    """The instance terms as plain loops."""
    return beside("naive")


@pytest.fixture(scope="session")
def contract() -> ModuleType:
    """What every loss keeps."""
    return beside("contract")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    return HERE / "data"


@dataclass(frozen=True)
class GoldenCase:
    """What the published code printed, the arguments as InstanceLoss names them."""

    prediction: torch.Tensor
    target: torch.Tensor
    options: dict[str, Any]
    expected: dict[str, float]


@pytest.fixture(scope="session")
def golden_case(data_dir: Path) -> Callable[[int], GoldenCase]:
    cases = {case["id"]: case for case in json.loads((data_dir / "reference_cases.json").read_text())["cases"]}
    arrays = np.load(data_dir / "reference_cases.npz")

    def load(index: int) -> GoldenCase:
        case = cases[index]

        def unpacked(name: str) -> torch.Tensor:
            bits = np.unpackbits(arrays[f"{name}{index}"], count=int(np.prod(case["shape"])))
            return torch.from_numpy(bits.reshape(case["shape"]).astype(np.float32))

        params = case["params"]
        return GoldenCase(
            prediction=unpacked("p"),
            target=unpacked("y"),
            options={
                "center_radius": params["centroid_offset"],
                "exclude_other_tp": params["instance_wise_loss_no_tp"],
                "count_as_rate": params["rate_instead_number"],
                "instance_reduction": params["reduce_segmentation"],
                "average_over": {"instance": "instance", "data": "sample"}[params["instance_wise_reduce"]],
                "min_instance_size": params["min_instance_size"],
            },
            expected={
                {"instance_out": "instance_pred"}.get(name, name): value
                for name, value in case["expected"]["InstanceLoss"].items()
            },
        )

    return load


@pytest.fixture(scope="session")
def soft_batch() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Random blobs: (logits, binary target), some matched, missed and false, no probability near 0.1 or 0.5."""

    def make(
        shape: tuple[int, ...], seed: int = 0, foreground: float = 0.2, dtype: torch.dtype = torch.float64
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng(seed)
        sigma = (0, 0, *[1.0] * (len(shape) - 2))
        shared, own = (ndimage.gaussian_filter(rng.normal(size=shape), sigma) for _ in range(2))
        field = 0.75 * shared + 0.65 * own
        target = shared > np.quantile(shared, 1 - foreground)
        logits = 3 * (field - np.quantile(field, 1 - foreground)) / field.std()
        for threshold in (0.1, 0.5):
            edge = np.log(threshold / (1 - threshold))
            logits = np.where(np.abs(logits - edge) < 0.05, edge + 0.05, logits)
        return torch.from_numpy(logits).to(dtype), torch.from_numpy(target).to(dtype)

    return make
