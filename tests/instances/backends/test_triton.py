"""The Triton kernels, run by Triton's interpreter on the CPU, and compiled for a GPU that need not be there."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_instance_loss.instances import backends
from monai_instance_loss.instances.backends import label_blocks
from monai_instance_loss.instances.backends.cpu import label_blocks_cc3d

if sys.platform != "linux":
    pytest.skip("triton is made for Linux only", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from monai_instance_loss.instances.backends import triton_labels

Label = Callable[..., tuple[torch.Tensor, torch.Tensor]]

# tiles so small that most components cross a border
SMALL: dict[str, Any] = {"_TILES": {2: (1, 8, 16), 3: (2, 4, 16)}, "_LANES": 128}
# the tiles of the package, in one program each, which is less work for the interpreter
WHOLE: dict[str, Any] = {"_LANES": 1024}


@pytest.fixture(scope="module")
def label() -> Iterator[Label]:
    """``label(mask, connectivity, **constants)``: labels and counts from the kernels as Triton interprets them."""
    worker = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("interpreter.py"))],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def ask(mask: torch.Tensor, connectivity: int, **constants: Any) -> tuple[torch.Tensor, torch.Tensor]:
        pickle.dump((mask, connectivity, constants), worker.stdin)
        worker.stdin.flush()
        return pickle.load(worker.stdout)

    yield ask
    worker.stdin.close()
    assert worker.wait() == 0
    worker.stdout.close()


def random_blocks(shape: tuple[int, ...], density: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape) < density)


def check(label: Label, mask: torch.Tensor, connectivity: int, **constants: Any) -> int:
    """The labels are those of cc3d bit for bit; returns how many there are."""
    labels, counts = label(mask, connectivity, **constants)
    expected, expected_counts = label_blocks_cc3d(mask, connectivity)
    assert torch.equal(labels, expected.dense())
    assert torch.equal(counts, expected_counts)
    assert labels.dtype == torch.int32
    assert counts.dtype == torch.int64
    assert labels.is_contiguous()
    return int(counts.sum())


# around the percolation thresholds of 8 (0.41) and 4 (0.59) neighbours
@settings(max_examples=10)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 35)),
    density=st.sampled_from([0.1, 0.41, 0.59, 0.9]),
    connectivity=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_images_are_labelled_as_on_the_cpu(label, shape, density, connectivity, seed):
    check(label, random_blocks(shape, density, seed), connectivity, **SMALL)


# around those of 26 (0.10), 18 (0.14) and 6 (0.31) neighbours
@settings(max_examples=10)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 7), st.integers(1, 20)),
    density=st.sampled_from([0.1, 0.14, 0.31, 0.9]),
    connectivity=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_volumes_are_labelled_as_on_the_cpu(label, shape, density, connectivity, seed):
    check(label, random_blocks(shape, density, seed), connectivity, **SMALL)


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_tiles_of_the_package(label, connectivity):
    check(label, random_blocks((1, 5, 7, 40), 0.25, 3), connectivity, **WHOLE)
    check(label, random_blocks((1, 20, 40), 0.5, 3), min(connectivity, 2))


@pytest.mark.parametrize("connectivity", [1, 2])
def test_long_paths_are_found_whole(label, long_path, connectivity):
    assert check(label, long_path[0], connectivity, **WHOLE) == 1


def test_a_path_through_all_tiles_of_a_volume(label):
    # along every second row of every second slice, turning at alternate ends
    volume = torch.zeros(1, 5, 9, 36, dtype=torch.bool)
    volume[0, ::2, ::2] = True
    volume[0, ::2, 1::4, -1] = volume[0, ::2, 3::4, 0] = True
    volume[0, 1, -1, -1] = volume[0, 3, 0, 0] = True
    assert check(label, volume, 1, **WHOLE) == 1
    # without the step from the second to the third layer it is in two pieces
    volume[0, 3, 0, 0] = False
    assert check(label, volume, 1, **WHOLE) == 2


def test_a_comb_is_joined_by_its_last_row(label):
    # the teeth meet only in the last row, after each has a root of its own
    comb = torch.zeros(1, 19, 37, dtype=torch.bool)
    comb[:, :, ::2] = True
    assert check(label, comb, 2, **SMALL) == 19
    comb[:, -1] = True
    assert check(label, comb, 1, **SMALL) == 1


@pytest.mark.parametrize("step", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1), (0, 1, -1), (1, 0, -1), (1, -1, 1)])
def test_diagonals_join_across_the_borders_of_tiles(label, step):
    # two tiles along each axis that the step moves on; it goes from the last index of one to the first of the next
    tile = SMALL["_TILES"][3]
    mask = torch.zeros(1, *[side + abs(move) for side, move in zip(tile, step, strict=True)], dtype=torch.bool)
    first = [{0: 0, 1: side - 1, -1: side}[move] for side, move in zip(tile, step, strict=True)]
    mask[0][tuple(first)] = True
    mask[0][tuple(at + move for at, move in zip(first, step, strict=True))] = True
    steps = sum(map(abs, step))
    assert check(label, mask, steps - 1, **SMALL) == 2
    assert check(label, mask, steps, **SMALL) == 1


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 1, 1), (2, 1, 19), (2, 9, 1), (1, 1, 1, 17), (2, 3, 1, 1)], ids=str
)
def test_size_one_axes_empty_and_full(label, shape):
    for density in (0, 0.5, 1):
        count = check(label, random_blocks(shape, density, 4), len(shape) - 1, **SMALL)
        if density in (0, 1):
            assert count == density * shape[0]


def test_full_volumes_and_empty_blocks_between_others(label):
    mask = torch.zeros(4, 2, 4, 17, dtype=torch.bool)
    mask[1], mask[3, 0, 0, 0], mask[3, 1, 3, 16] = True, True, True
    assert check(label, mask, 3, **SMALL) == 3
    assert label(mask, 1, **SMALL)[1].tolist() == [0, 1, 0, 2]


def test_every_second_voxel_is_a_component_of_its_own(label):
    mask = torch.zeros(1, 4, 5, 19, dtype=torch.bool)
    mask[:, ::2, ::2, ::2] = True
    assert check(label, mask, 3, **SMALL) == 2 * 3 * 10


def test_indices_of_64_bits(label):
    check(label, random_blocks((2, 11, 33), 0.5, 5), 1, _LONG=0, **SMALL)
    check(label, random_blocks((1, 3, 5, 18), 0.3, 5), 3, _LONG=0, **SMALL)


def test_memory_layout_does_not_matter(label):
    mask = random_blocks((2, 12, 18), 0.5, 6)
    for view in (mask.transpose(1, 2), mask[:, 1:, 3:], mask[:, :1].expand(-1, 4, -1), mask[..., ::2]):
        check(label, view, 1, **SMALL)


def test_triton_labels_masks_on_cuda_and_where_the_environment_says_so(monkeypatch):
    monkeypatch.setenv("CC", "cc")
    monkeypatch.delenv("MONAI_INSTANCE_LOSS_LABELLING", raising=False)
    backends._missing_for_triton.cache_clear()
    assert backends._backend("cuda") is triton_labels.label_blocks_triton
    monkeypatch.setenv("MONAI_INSTANCE_LOSS_LABELLING", "triton")
    assert backends._backend("cuda") is triton_labels.label_blocks_triton
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert backends._backend("cpu") is triton_labels.label_blocks_triton
    backends._missing_for_triton.cache_clear()


# name, element type of the parents, options
KERNELS = [
    ("_start", "i32", {}),
    ("_start", "i64", {}),
    ("_flatten", "i32", {}),
    ("_flatten", "i64", {}),
    ("_join", "i32", {"connectivity": 1, "within": True}),
    ("_join", "i32", {"connectivity": 2, "within": False}),
    ("_join", "i32", {"connectivity": 3, "within": True}),
    ("_join", "i64", {"connectivity": 3, "within": False}),
]


@pytest.mark.parametrize(("name", "index", "options"), KERNELS)
def test_kernels_compile_for_a_gpu(name, index, options, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_labels, name)
    sides = dict(zip(("tile_z", "tile_y", "tile_x"), triton_labels._TILES[3], strict=True))
    constants = {**sides, "lanes": triton_labels._LANES, **options}
    types = {"mask": "*u8", "parent": f"*{index}", "depth": "i32", "height": "i32", "width": "i32", "voxels": index}
    signature = {arg: types.get(arg, "constexpr") for arg in kernel.arg_names}
    source = ASTSource(kernel, signature, {arg: constants[arg] for arg in kernel.arg_names if arg not in types})
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1})
    # the machine code that ptxas made of it
    assert len(compiled.asm["cubin"]) > 1000
    if name == "_join":
        assert f"min.s{index[1:]}" in compiled.asm["ptx"]
        assert "ld.volatile" in compiled.asm["ptx"]
    # a warp to a program, which has nothing to wait for
    assert "bar.sync" not in compiled.asm["ptx"]
    assert compiled.metadata.shared == 0


@pytest.mark.gpu
@pytest.mark.parametrize("connectivity", [1, 2, 3])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.31, 0.6, 0.98])
def test_cuda_agrees_bit_for_bit_time_after_time(density, connectivity):
    mask = random_blocks((2, 61, 96, 130), density, 11)
    expected, counts = label_blocks_cc3d(mask, connectivity)
    for _ in range(5):
        labels, found = triton_labels.label_blocks_triton(mask.cuda(), connectivity)
        assert torch.equal(labels.dense().cpu(), expected.dense())
        assert torch.equal(found.cpu(), counts)


@pytest.mark.gpu
def test_cuda_finds_long_paths_whole(long_path):
    for connectivity in (1, 2):
        labels, counts = label_blocks(long_path[0].cuda(), connectivity)
        assert counts.tolist() == [1]
        assert torch.equal(labels.dense() > 0, long_path[0].cuda())
