"""Labels, sizes, boxes and nearest instances on random masks, against scipy and plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import ndimage

from monai_instance_loss.instances import instances_from_map, label_instances, touching_pairs
from monai_instance_loss.instances.backends import label_blocks_cpu, label_blocks_torch
from monai_instance_loss.instances.backends.cpu import label_blocks_cc3d
from monai_instance_loss.instances.backends.runs import label_runs, run_starts
from monai_instance_loss.instances.voronoi import nearest_instance
from monai_instance_loss.instances.voxels import positions
from monai_instance_loss.transforms.voxels import InstanceVoxels

# in mm, and in a unit in which scipy's distances are roots of whole numbers
SPACINGS = [
    (None, (1, 1, 1)),
    ((0.9, 0.9, 3.0), (9, 9, 30)),
    ((1.2, 0.7, 0.8), (12, 7, 8)),
    ((0.9375, 1.0, 2.5), (15, 16, 40)),
]


def partition(labels: torch.Tensor) -> set[frozenset[int]]:
    flat = labels.flatten()
    return {frozenset((flat == k).nonzero().flatten().tolist()) for k in flat.unique().tolist() if k}


def test_labels_are_those_of_scipy(examples, draw_shape, draw_mask, relaid, naive_labels):
    def check(rng):
        mask = draw_mask(rng, draw_shape(rng))
        connectivity = [None, *range(1, mask.ndim - 1)][rng.integers(mask.ndim - 1)]
        found = label_instances(relaid(rng, mask), connectivity)
        assert type(found.labels) is torch.Tensor
        assert found.labels.dtype == torch.int32
        assert found.labels.is_contiguous()
        offset, home = 0, []
        for block in itertools.product(*map(range, mask.shape[:2])):
            labels = naive_labels(mask[block].numpy(), connectivity)
            assert np.array_equal(found.labels[block].numpy(), np.where(labels > 0, labels + offset, 0))
            offset += labels.max()
            home += [block] * labels.max()
        assert list(zip(found.sample.tolist(), found.channel.tolist(), strict=True)) == home

    examples(check)


def test_backends_agree_bit_for_bit(examples, draw_shape, draw_mask):
    def check(rng):
        mask = draw_mask(rng, draw_shape(rng)).flatten(0, 1)
        connectivity = int(rng.integers(1, mask.ndim))
        where = positions(mask)
        # positions of the foreground and of some voxels more, as the losses know them
        more = positions(mask | torch.from_numpy(rng.random(mask.shape) < 0.2))
        expected, counts = label_blocks_cc3d(mask, connectivity)
        for source, others in (
            label_blocks_torch(mask, connectivity),
            label_runs(mask.shape, where, run_starts(where, mask.shape[-1]), connectivity),
            label_blocks_cpu(mask, connectivity),
            label_blocks_cpu(mask, connectivity, where),
            label_blocks_cpu(mask, connectivity, more, mask.flatten()[more]),
        ):
            assert torch.equal(source.dense(), expected.dense())
            assert torch.equal(others, counts)
            assert torch.equal(source.at(more), expected.at(more))

    examples(check)


def test_a_map_of_instances_is_read_back(examples, draw_shape, draw_mask, relaid):
    def check(rng):
        known = label_instances(draw_mask(rng, draw_shape(rng)), 1)
        ids = torch.from_numpy(np.concatenate([[0], rng.permutation(5 * known.count + 5)[: known.count] + 1]))
        found = instances_from_map(ids[known.labels.long()])
        assert partition(found.labels) == partition(known.labels)
        assert found.count == known.count
        assert torch.equal(found.block, known.block)

    examples(check)


def test_samples_and_flips_change_places_only(examples, draw_shape, draw_mask):
    def check(rng):
        mask = draw_mask(rng, draw_shape(rng))
        found = label_instances(mask).labels
        order = torch.from_numpy(rng.permutation(len(mask)))
        for k, sample in enumerate(order.tolist()):
            assert partition(label_instances(mask[order]).labels[k]) == partition(found[sample])
        axes = [axis for axis in range(2, mask.ndim) if rng.random() < 0.5]
        assert partition(label_instances(mask.flip(axes)).labels.flip(axes)) == partition(found)

    examples(check)


def test_sizes_boxes_and_centres_are_those_of_a_loop(examples, draw_shape, draw_mask):
    def check(rng):
        instances = label_instances(draw_mask(rng, draw_shape(rng)))
        voxels = InstanceVoxels.of(instances)
        low, high = voxels.boxes
        for k in range(instances.count):
            where = np.argwhere(instances.labels.numpy() == k + 1)[:, 2:]
            assert voxels.sizes[k] == len(where)
            assert low[k].tolist() == where.min(0).tolist()
            assert high[k].tolist() == where.max(0).tolist()
            np.testing.assert_allclose(voxels.centroids[k].numpy(), where.mean(0), rtol=1e-12)

    examples(check)


def test_touching_pairs_are_those_of_a_double_loop(examples, draw_shape, draw_mask):
    def check(rng):
        shape = draw_shape(rng)
        true, pred = (label_instances(draw_mask(rng, shape)).labels for _ in range(2))
        pairs = zip(*(column.tolist() for column in touching_pairs(true, pred)), strict=True)
        overlaps = ((i, j, int(((true == i) & (pred == j)).sum())) for i, j in np.ndindex(*map(top, (true, pred))))
        assert list(pairs) == [pair for pair in overlaps if all(pair)]

    def top(labels):
        return int(labels.max()) + 1

    examples(check)


def test_nearest_instances_are_the_first_of_the_nearest(examples, draw_shape, draw_mask):
    def check(rng):
        instances = label_instances(draw_mask(rng, draw_shape(rng)))
        spacing_mm, sampling = SPACINGS[rng.integers(len(SPACINGS))]
        dims = len(instances.shape) - 2
        cells = nearest_instance(instances, spacing_mm and spacing_mm[:dims])
        for labels, found in zip(instances.labels.flatten(0, 1).numpy(), cells.flatten(0, 1).numpy(), strict=True):
            ids = np.unique(labels[labels > 0])
            maps = [ndimage.distance_transform_edt(labels != k, sampling[:dims]) for k in ids]
            assert np.array_equal(found, ids[np.argmin(maps, 0)] if maps else labels)

    examples(check)


def test_nearest_instances_of_flips_and_samples_differ_in_ties_only(examples, draw_shape, draw_mask):
    def check(rng):
        mask = draw_mask(rng, draw_shape(rng))
        instances = label_instances(mask)
        axes = [0, *(axis for axis in range(2, mask.ndim) if rng.random() < 0.5)]
        flipped = label_instances(mask.flip(axes))
        # ids of the flipped batch by those of the batch
        here = instances.labels.flip(axes)
        ids = torch.zeros(instances.count + 1, dtype=torch.int32).scatter_(
            0, here.flatten().long(), flipped.labels.flatten()
        )
        expected, found = ids[nearest_instance(instances).flip(axes).long()], nearest_instance(flipped)
        for block in itertools.product(*map(range, mask.shape[:2])):
            for voxel in (expected[block] != found[block]).nonzero():
                squares = [
                    int(((flipped.labels[block] == k).nonzero() - voxel).square().sum(1).min())
                    for k in (expected[block][tuple(voxel)], found[block][tuple(voxel)])
                ]
                assert squares[0] == squares[1]

    examples(check)
