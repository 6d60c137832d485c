"""The overlap of both sides has the numbers of loops over components, as lists of voxels and as tables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_instance_loss.losses.engine.cuda import TableOverlap
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.overlap import InstanceScores, Overlap, VoxelOverlap, with_voxels

MAPS = ("p", "p_fixed", "ce_on", "ce_off")
THRESHOLD = 0.5


def scene(soft_batch, shape, ignored=False):
    """A batch of which one sample has no class 1 in target or prediction, and its masks per block."""
    logits, target = soft_batch(shape, 4)
    logits[0, -1], target[0, -1] = -9, 0
    options = InputOptions(sigmoid=True, ignore_index=2 if ignored else None)
    if ignored:
        # more of the second sample than of the first
        target[:, :, 2:4] = target[1, :, 4] = 2
    return options.prepare(logits, target, THRESHOLD)


def components(masks):
    """Each component of each block in order: (block, bool mask)."""
    full = ndimage.generate_binary_structure(masks[0].ndim, masks[0].ndim)
    found = []
    for block, mask in enumerate(masks.numpy()):
        labels, count = ndimage.label(mask, full)
        found += [(block, labels == k) for k in range(1, count + 1)]
    return found


def in_block(values, instance):
    block, mask = instance
    return values[block][torch.from_numpy(mask)]


def overlaps(batch, min_size=0):
    return VoxelOverlap(batch, None, min_size), TableOverlap(batch, None, ("ce_on", "ce_off"), min_size)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("shape", [(2, 2, 12, 13), (2, 1, 7, 8, 9)], ids=str)
@pytest.mark.parametrize("kind", [VoxelOverlap, TableOverlap])
def test_numbers_of_instances_are_those_of_loops(kind, shape, ignored, soft_batch):
    batch = scene(soft_batch, shape, ignored)
    overlap = overlaps(batch, 3)[kind is TableOverlap]
    assert isinstance(overlap, kind)
    both = components(batch.target), components(batch.predicted)
    assert min(map(len, both)) > 3
    for side, instances, presence in zip(
        (overlap.true, overlap.pred), both, (overlap.presence_true, overlap.presence_pred), strict=True
    ):
        count = len(instances)
        # tables have room for more
        assert side.block[:count].tolist() == [block for block, _ in instances]
        sizes = [int(mask.sum()) for _, mask in instances]
        assert side.voxels[:count].tolist() == sizes
        assert not side.voxels[count:].any()
        for name in MAPS:
            sums = side.gather(overlap.sums((name,))[name])
            expected = torch.stack([in_block(batch.voxels.map(name), each).sum() for each in instances])
            torch.testing.assert_close(sums[:count], expected)
            assert not sums[count:].any()
        for instance, value in zip(instances, presence, strict=False):
            p = in_block(batch.voxels.p, instance)
            torch.testing.assert_close(value, (p * p).sum() / p.sum())
        large = [
            sum(size > 3 for (of, _), size in zip(instances, sizes, strict=True) if of == block)
            for block in range(batch.blocks)
        ]
        assert side.count_by_block(batch.blocks).tolist() == large
        values = torch.arange(side.count, dtype=torch.float64)
        by_block = torch.zeros(batch.blocks, dtype=torch.float64)
        for index, ((block, _), size) in enumerate(zip(instances, sizes, strict=True)):
            by_block[block] += index * (size > 3)
        torch.testing.assert_close(side.sum_by_block(values, batch.blocks), by_block)


@pytest.mark.parametrize("kind", [VoxelOverlap, TableOverlap])
def test_pairs_are_those_of_loops(kind, soft_batch):
    batch = scene(soft_batch, (2, 2, 12, 13))
    overlap = overlaps(batch)[kind is TableOverlap]
    true, pred = components(batch.target), components(batch.predicted)
    expected = {
        (i, j): int((a[1] & b[1]).sum())
        for (i, a), (j, b) in itertools.product(enumerate(true), enumerate(pred))
        if a[0] == b[0] and (a[1] & b[1]).any()
    }
    there = torch.ones_like(overlap.pair_true, dtype=torch.bool) if overlap.pair_exists is None else overlap.pair_exists
    listed = list(zip(overlap.pair_true[there].tolist(), overlap.pair_pred[there].tolist(), strict=True))
    assert set(listed) == set(expected)
    # each pair is the first of its kind once, however many pieces it has
    firsts = overlap.first(torch.ones(overlap.pairs.shape, dtype=torch.int64))[there]
    assert sorted(pair for pair, first in zip(listed, firsts.tolist(), strict=True) if first) == sorted(expected)
    common = dict.fromkeys(expected, 0)
    for pair, size in zip(listed, overlap.fragment_voxels[overlap.pairs][there].tolist(), strict=True):
        common[pair] += size
    assert common == expected
    assert overlap.missed[: len(true)].tolist() == [all(pair[0] != i for pair in expected) for i in range(len(true))]
    assert overlap.false[: len(pred)].tolist() == [all(pair[1] != j for pair in expected) for j in range(len(pred))]


@pytest.mark.parametrize("kind", [VoxelOverlap, TableOverlap])
def test_sums_of_whole_blocks_are_those_of_masks(kind, soft_batch):
    batch = scene(soft_batch, (2, 2, 12, 13), ignored=True)
    overlap = overlaps(batch)[kind is TableOverlap]
    blocks = torch.tensor([3, 1])
    sums = overlap.block_sums(("p", "ce_on"), ("ce_off",), blocks)
    assert (list(sums.on), list(sums.off)) == (["p", "ce_on"], ["ce_off"])
    for row, block in enumerate(blocks.tolist()):
        target, kept = batch.target[block], batch.kept[block]
        for name in ("p", "ce_on"):
            torch.testing.assert_close(sums.on[name][row], batch.voxels.map(name)[block][target].sum())
        torch.testing.assert_close(sums.off["ce_off"][row], batch.voxels.ce_off[block][kept & ~target].sum())
        assert (int(sums.target_voxels[row]), int(sums.voxels[row])) == (int(target.sum()), int(kept.sum()))


@pytest.mark.parametrize(
    ("min_size", "total", "count", "blocks"),
    [
        # classes 0 and 1 of either sample: blocks (0, 1) and (1, 0) have none
        (0, [11.0, 6.0, 8.0, 100.0], [2, 1, 1, 1], [0, 0, 4, 1, 3]),
        # lesions of 1 are not scored, but there
        (1, [10.0, 6.0, 8.0, 9.0], [1, 1, 1, 1], [0, 1, 3, 4]),
    ],
)
@pytest.mark.parametrize("kind", [VoxelOverlap, TableOverlap])
def test_blocks_without_instances_are_scored_as_a_whole(kind, min_size, total, count, blocks):
    # classes 0, 1 and 2 of two samples; a lesion of each size 1 and 2 in (0, 0), one of 1 in (1, 1), nothing elsewhere
    target = torch.zeros(2, 3, 1, 6)
    target[0, 0, 0, 0] = target[0, 0, 0, 2:4] = target[1, 1, 0, 5] = 1
    batch = InputOptions(sigmoid=True).prepare(torch.full((2, 3, 1, 6), -9.0), target, THRESHOLD)
    overlap = overlaps(batch, min_size)[kind is TableOverlap]
    values = torch.zeros(overlap.true.count)
    values[:3] = torch.tensor([1.0, 10.0, 100.0])

    def of_whole_blocks(blocks):
        return torch.tensor([5.0, 6.0, 7.0, 8.0, 9.0, 10.0])[blocks]

    scores = overlap.scores(overlap.true, values, of_whole_blocks)
    assert isinstance(scores, InstanceScores)
    classes = [0, 1, 3, 4]
    assert scores.total[classes].tolist() == total
    assert scores.count[classes].tolist() == count
    if kind is VoxelOverlap:
        # class 2 is nowhere, and not scored; in a table it stands, to be left out of the average
        assert scores.block.tolist() == blocks


@pytest.mark.parametrize("kind", [VoxelOverlap, TableOverlap])
def test_classes_present(kind):
    nothing = torch.zeros(2, 3, 4, 4)
    found, hit = nothing.clone(), nothing.clone()
    found[1, 0, 0, 0], hit[0, 1, 3, 3] = 1, 9
    for target, logits, expected in (
        (found, nothing - 9, [True, False, False]),
        (nothing, hit - 4, [False, True, False]),
        (found, hit - 4, [True, True, False]),
        # all of them where there is none at all
        (nothing, nothing - 9, [True, True, True]),
    ):
        batch = InputOptions(sigmoid=True).prepare(logits, target, THRESHOLD)
        assert overlaps(batch)[kind is TableOverlap].classes_present.tolist() == expected


@pytest.mark.parametrize("shape", [(2, 2, 12, 13), (2, 1, 7, 8, 9)], ids=str)
def test_voxels_fragments_and_boxes_are_those_of_loops(shape, soft_batch):
    batch = scene(soft_batch, shape)
    overlap = VoxelOverlap(batch, None)
    foreground = (batch.target | batch.predicted).numpy()
    assert overlap.position.tolist() == np.flatnonzero(foreground).tolist()
    # without the block, the first of the indices
    assert overlap.coordinates.tolist() == np.argwhere(foreground)[:, 1:].tolist()
    low, high = overlap.fragment_boxes
    for fragment in range(overlap.fragment_voxels.numel()):
        inside = overlap.coordinates[overlap.fragment_ids == fragment]
        assert len(inside) == overlap.fragment_voxels[fragment]
        assert low[fragment].tolist() == inside.amin(0).tolist()
        assert high[fragment].tolist() == inside.amax(0).tolist()
        assert overlap.fragment_coordinate_sums[fragment].tolist() == inside.sum(0).tolist()
    true, pred = overlap.instances
    assert torch.equal(overlap.true.fragment[overlap.fragment_ids], true.labels.flatten()[overlap.position])
    assert torch.equal(overlap.pred.fragment[overlap.fragment_ids], pred.labels.flatten()[overlap.position])


def test_a_fragment_that_fills_its_rows():
    # rows follow on each other in memory: the last voxel of one is next to the first of the next
    target = torch.ones(1, 1, 3, 4)
    overlap = VoxelOverlap(InputOptions().prepare(target, target, THRESHOLD), None)
    low, high = overlap.fragment_boxes
    assert (low.tolist(), high.tolist()) == ([[0, 0]], [[2, 3]])
    # rows 4 * (0 + 1 + 2), columns 3 * (0 + 1 + 2 + 3)
    assert overlap.fragment_coordinate_sums.tolist() == [[12, 18]]


def test_maps_of_ones_own_are_summed_by_the_function(soft_batch):
    batch = scene(soft_batch, (2, 2, 12, 13))
    overlap = VoxelOverlap(batch, None)

    def cubes(voxels):
        return voxels.p**3

    sums = overlap.sums(("p", cubes))
    assert list(sums) == ["p", cubes]
    expected = torch.stack([in_block(batch.voxels.p**3, each).sum() for each in components(batch.target)])
    torch.testing.assert_close(overlap.true.gather(sums[cubes]), expected)
    # asked for again, the same tensor
    assert overlap.sums((cubes,))[cubes] is sums[cubes]
    with pytest.raises(ValueError, match=r"Expected a map to be a function or one of .*, but got 'cubes'"):
        overlap.sums(("cubes",))


def test_what_is_computed_once_is_computed_once(soft_batch):
    overlap = VoxelOverlap(scene(soft_batch, (2, 1, 6, 7)), None)
    calls = []
    for _ in range(2):
        assert overlap.once("name", lambda: calls.append(1) or "value") == "value"
    assert calls == [1]


def test_terms_that_look_at_voxels_need_an_overlap_that_keeps_them(soft_batch):
    batch = scene(soft_batch, (2, 1, 6, 7))
    voxels, table = overlaps(batch)
    assert with_voxels(voxels) is voxels
    message = "Expected `overlap` to be a VoxelOverlap, .* but got TableOverlap, which has sums only"
    with pytest.raises(TypeError, match=message):
        with_voxels(table)


def test_every_overlap_has_what_its_base_promises(soft_batch):
    promised = {name for name in vars(Overlap) if not name.startswith("_")} | set(Overlap.__annotations__)
    assert {"sums", "pairs", "scores", "presence_true", "batch"} <= promised
    for overlap in overlaps(scene(soft_batch, (2, 1, 6, 7))):
        for name in promised:
            getattr(overlap, name)


def test_a_nan_anywhere_makes_all_terms_nan():
    for side in ("target", "prediction"):
        logits, target = torch.full((1, 1, 4, 4), -9.0), torch.zeros(1, 1, 4, 4)
        logits[0, 0, 1, 1], target[0, 0, 1, 1] = torch.nan, float(side == "target")
        batch = InputOptions(sigmoid=True).prepare(logits, target, THRESHOLD)
        assert all(overlap.finite.isnan() for overlap in overlaps(batch))
