"""What a number was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = (
    "monai_instance_loss",
    "monai",
    "torch",
    "numpy",
    "connected-components-3d",
    "scipy",
    "scikit-image",
    "kornia",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "triton",
)


def describe(device: torch.device) -> dict[str, object]:
    """Processor, accelerator and versions, for the head of a result file."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "python": platform.python_version(),
        "system": platform.system(),
        "versions": versions,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
