from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_instance_loss.instances.backends import label_blocks, label_blocks_cpu, label_blocks_torch
from monai_instance_loss.instances.backends.cpu import label_blocks_cc3d
from monai_instance_loss.instances.backends.runs import SparseLabels, label_runs, run_starts
from monai_instance_loss.instances.voxels import positions


def label_by_runs(mask: torch.Tensor, connectivity: int):
    position = positions(mask)
    return label_runs(mask.shape, position, run_starts(position, mask.shape[-1]), connectivity)


BACKENDS = {"cc3d": label_blocks_cc3d, "runs": label_by_runs, "torch": label_blocks_torch}


def random_blocks(shape: tuple[int, ...], density: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape) < density)


def check_same(mask: torch.Tensor, connectivity: int) -> None:
    source, counts = label_blocks_cc3d(mask, connectivity)
    labels = source.dense()
    everywhere = torch.arange(mask.numel())
    for backend in (label_by_runs, label_blocks_torch, label_blocks_cpu, label_blocks):
        other, other_counts = backend(mask, connectivity)
        other_labels = other.dense()
        for position in (everywhere, everywhere[1::3], mask.flatten().nonzero().squeeze(1)):
            assert torch.equal(source.at(position), labels.flatten()[position].long())
            assert torch.equal(other.at(position), source.at(position))
        # told which voxels are foreground, all of them
        assert torch.equal(other.at(everywhere, mask.flatten()), source.at(everywhere))
        assert torch.equal(labels, other_labels)
        assert torch.equal(counts, other_counts)
        assert labels.dtype == other_labels.dtype == torch.int32
        assert counts.dtype == other_counts.dtype == torch.int64
        assert other_labels.is_contiguous()
        assert other_labels.shape == mask.shape


@settings(max_examples=60)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 4), *[st.integers(1, 12)] * 2), st.tuples(st.integers(1, 3), *[st.integers(1, 8)] * 3)
    ),
    density=st.sampled_from([0.0, 0.1, 0.35, 0.6, 1.0]),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_backends_agree_bit_for_bit(shape, density, seed, data):
    check_same(random_blocks(shape, density, seed), data.draw(st.integers(1, len(shape) - 1)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_positions_with_gaps_in_memory_raise_no_warning(backend):
    mask = random_blocks((2, 4, 6), 0.4, 0)
    position = torch.arange(mask.numel())[::2]
    # torch tells of them once a process otherwise
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        found = backend(mask, 2)[0].at(position)
        gaps = label_runs(mask.shape, positions(mask).repeat_interleave(2)[::2], run_starts(positions(mask), 6), 2)[0]
        again = gaps.at(position)
    finally:
        torch.set_warn_always(before)
    assert torch.equal(found, label_blocks_torch(mask, 2)[0].labels.flatten()[::2])
    assert torch.equal(again, found)


def test_sparse_masks_are_labelled_by_runs():
    mask = torch.zeros(2, 16, 16, 16, dtype=torch.bool)
    mask[0, 3, 3, 2:6] = mask[0, 4, 4, 6] = mask[1, 0, 15, 15] = mask[1, 1, 0, 0] = True
    # 7 of 8192 voxels; the diagonal step joins the first two runs, the border of a row and of a slice joins nothing
    sparse, counts = label_blocks_cpu(mask, 3)
    assert isinstance(sparse, SparseLabels)
    assert counts.tolist() == [1, 2]
    assert sparse.ids.tolist() == [1, 1, 1, 1, 1, 2, 3]
    check_same(mask, 3)
    assert label_blocks_cpu(mask, 2)[1].tolist() == [2, 2]
    # known positions change nothing
    known, _ = label_blocks_cpu(mask, 3, mask.flatten().nonzero().squeeze(1))
    assert known.ids.tolist() == sparse.ids.tolist()
    # 64 runs of 8192 voxels are few, 65 are not, and neither are 512 voxels of long runs
    for filled, is_sparse in ((mask_of_specks(64), True), (mask_of_specks(65), False)):
        assert isinstance(label_blocks_cpu(filled, 3)[0], SparseLabels) == is_sparse
        check_same(filled, 3)
    mask[1, 4:6] = True
    assert not isinstance(label_blocks_cpu(mask, 3)[0], SparseLabels)


def mask_of_specks(count):
    mask = torch.zeros(2, 16, 16, 16, dtype=torch.bool)
    mask.view(-1)[torch.arange(count) * 97] = True
    return mask


# densities around the percolation thresholds of 6 (0.31), 18 (0.14) and 26 (0.10) neighbours have the longest paths
@pytest.mark.parametrize(("density", "connectivity"), [(0.02, 3), (0.1, 3), (0.14, 2), (0.31, 1), (0.6, 1)])
def test_backends_agree_on_a_volume_of_96_cubed(density, connectivity):
    check_same(random_blocks((1, 96, 96, 96), density, 7), connectivity)


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_a_diagonal_is_connected_by_as_many_steps_as_it_takes(backend):
    image = torch.eye(5, dtype=torch.bool)[None]
    space = torch.zeros(1, 5, 5, 5, dtype=torch.bool)
    face = torch.zeros(1, 5, 5, 5, dtype=torch.bool)
    for i in range(5):
        space[0, i, i, 4 - i] = True
        face[0, i, 2, i] = True
    expected = {1: (5, 5, 5), 2: (1, 5, 1), 3: (None, 1, 1)}
    for connectivity, counts in expected.items():
        for mask, count in zip((image, space, face), counts, strict=True):
            if count is not None:
                assert backend(mask, connectivity)[1].tolist() == [count]


# as many components as a grid can hold: labelling libraries reserve their tables by an estimate of it
@pytest.mark.parametrize(
    "shape", [(1, 7, 7, 7), (1, 5, 8, 3), (2, 9, 1, 9), (1, 33, 31), (1, 1, 65), (3, 2, 2, 2)], ids=str
)
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_every_second_voxel_is_a_component_of_its_own(backend, shape):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[(slice(None), *[slice(None, None, 2)] * (len(shape) - 1))] = True
    for connectivity in range(1, len(shape)):
        source, counts = backend(mask, connectivity)
        labels = source.dense()
        assert int(counts.sum()) == int(mask.sum())
        assert torch.equal(labels[mask], torch.arange(1, int(mask.sum()) + 1, dtype=torch.int32))
        assert not labels[~mask].any()


@pytest.mark.parametrize("shape", [(1, 7, 7, 7), (2, 9, 11), (1, 5, 8, 3)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_a_chequerboard_falls_apart_without_diagonals(backend, shape):
    parity = sum(torch.meshgrid(*(torch.arange(n) for n in shape[1:]), indexing="ij")) % 2
    mask = (parity == 0).expand(shape)
    assert int(backend(mask, 1)[1].sum()) == int(mask.sum())
    assert backend(mask, 2)[1].tolist() == [1] * shape[0]


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_long_paths_are_found_whole(backend, long_path):
    source, counts = backend(long_path[0], 1)
    labels = source.dense()
    assert counts.tolist() == [1]
    assert torch.equal(labels > 0, long_path[0])


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_blocks_without_foreground_between_others(backend):
    mask = torch.zeros(5, 2, 3, dtype=torch.bool)
    mask[1, 0, 0] = mask[1, 0, 2] = mask[3, 1, 1] = True
    source, counts = backend(mask, 2)
    labels = source.dense()
    assert counts.tolist() == [0, 2, 0, 1, 0]
    assert labels.flatten(1).tolist() == [[0] * 6, [1, 0, 2, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 3, 0], [0] * 6]


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_mask_is_not_written_to(backend):
    mask = random_blocks((2, 6, 7), 0.5, 1)
    before = mask.clone()
    labels, _ = backend(mask, 1)
    labels.dense().fill_(5)
    assert torch.equal(mask, before)


@pytest.mark.gpu
@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_cuda_agrees_bit_for_bit(connectivity):
    for density in (0.02, 0.1, 0.31, 0.6):
        mask = random_blocks((2, 48, 64, 33), density, 11)
        labels, counts = label_blocks(mask.cuda(), connectivity)
        expected_labels, expected_counts = label_blocks_cpu(mask, connectivity)
        assert torch.equal(labels.dense().cpu(), expected_labels.dense())
        assert torch.equal(counts.cpu(), expected_counts)
