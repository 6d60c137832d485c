"""Which backend labels: by the device of the mask, or as the environment says."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
import torch

from monai_instance_loss import label_instances
from monai_instance_loss.instances import backends
from monai_instance_loss.instances.backends import label_blocks, label_blocks_cpu, label_blocks_torch
from monai_instance_loss.instances.backends.cpu import label_blocks_cc3d

VARIABLE = "MONAI_INSTANCE_LOSS_LABELLING"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nothing is set, and there is a triton and a compiler."""
    for name in (VARIABLE, "TRITON_INTERPRET", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    backends._missing_for_triton.cache_clear()
    yield
    backends._missing_for_triton.cache_clear()


def test_the_device_decides_where_nothing_is_set():
    assert backends._backend("cpu") is label_blocks_cpu
    assert not backends._obstacle("triton", "cuda")
    assert backends._backend("mps") is label_blocks_torch


def test_cuda_without_triton_or_without_a_compiler_falls_back_to_torch(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert backends._backend("cuda") is label_blocks_torch
    backends._missing_for_triton.cache_clear()
    monkeypatch.setenv("CC", "/opt/cc")
    assert not backends._obstacle("triton", "cuda")
    backends._missing_for_triton.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert backends._backend("cuda") is label_blocks_torch


def test_the_environment_overrides_the_device(monkeypatch):
    monkeypatch.setenv(VARIABLE, "torch")
    assert backends._backend("cpu") is backends._backend("cuda") is label_blocks_torch
    monkeypatch.setenv(VARIABLE, "cc3d")
    assert backends._backend("cpu") is label_blocks_cc3d
    monkeypatch.setenv(VARIABLE, "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not backends._obstacle("triton", "cpu")


def test_the_interpreter_needs_no_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not backends._obstacle("triton", "cpu")


@pytest.mark.parametrize("named", ["cc3d", "torch"])
def test_named_backends_give_the_same_instances(monkeypatch, named):
    mask = torch.rand(2, 2, 9, 10, 11, generator=torch.Generator().manual_seed(1)) < 0.2
    expected = label_instances(mask)
    monkeypatch.setenv(VARIABLE, named)
    named_instances = label_instances(mask)
    assert torch.equal(named_instances.labels, expected.labels)
    assert torch.equal(named_instances.block, expected.block)


@pytest.mark.parametrize("named", ["", "cuda", "Triton", "cc3d "])
def test_unknown_backends_are_refused_by_name(monkeypatch, named):
    monkeypatch.setenv(VARIABLE, named)
    for mask in (torch.ones(1, 1, 2, 2), torch.ones(0, 1, 2, 2)):
        with pytest.raises(ValueError, match=f"Expected `{VARIABLE}` to be 'cc3d', 'triton' or 'torch', but got '"):
            label_instances(mask)


@pytest.mark.parametrize(
    ("named", "device", "reason"),
    [
        ("cc3d", "cuda", "cc3d labels masks on the CPU, and this one is on cuda"),
        ("cc3d", "meta", "cc3d labels masks on the CPU, and this one is on meta"),
        ("triton", "cpu", "triton labels masks on CUDA .*TRITON_INTERPRET=1.*, and this one is on cpu"),
        ("triton", "mps", "triton labels masks on CUDA .*, and this one is on mps"),
    ],
)
def test_a_backend_that_cannot_label_here_says_why(monkeypatch, named, device, reason):
    monkeypatch.setenv(VARIABLE, named)
    with pytest.raises(RuntimeError, match=f"Expected `{VARIABLE}` .* but got '{named}': {reason}"):
        backends._backend(device)


def test_masks_reach_the_check(monkeypatch):
    monkeypatch.setenv(VARIABLE, "cc3d")
    with pytest.raises(RuntimeError, match="this one is on meta"):
        label_blocks(torch.ones(1, 2, 2, dtype=torch.bool, device="meta"), 1)


def test_what_triton_lacks_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "triton")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="but got 'triton': triton needs a C compiler"):
        backends._backend("cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(RuntimeError, match="but got 'triton': triton is not installed"):
        backends._backend("cpu")
