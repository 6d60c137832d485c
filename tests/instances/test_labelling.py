from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

import monai_instance_loss
from monai_instance_loss.instances import Instances, instances_from_map, label_instances


def random_mask(shape: tuple[int, ...], density: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape) < density)


masks = st.builds(
    random_mask,
    st.tuples(
        st.integers(0, 3), st.integers(1, 3), *[st.integers(1, 9)] * 2, st.one_of(st.none(), st.integers(1, 7))
    ).map(lambda shape: tuple(n for n in shape if n is not None)),
    st.sampled_from([0.05, 0.2, 0.4, 0.6, 0.9]),
    st.integers(0, 2**32 - 1),
)


def check_bookkeeping(inst: Instances) -> None:
    """Ids 1..N, each in the block that `sample` and `channel` say."""
    assert inst.labels.dtype == torch.int32
    assert inst.labels.is_contiguous()
    assert type(inst.labels) is torch.Tensor
    assert inst.sample.dtype == inst.channel.dtype == inst.block.dtype == torch.int64
    assert inst.sample.shape == inst.channel.shape == inst.block.shape == (inst.count,)
    ids = inst.labels.unique()
    assert ids[ids != 0].tolist() == list(range(1, inst.count + 1))
    for k in range(inst.count):
        where = (inst.labels == k + 1).nonzero()
        assert (where[:, 0] == inst.sample[k]).all()
        assert (where[:, 1] == inst.channel[k]).all()
        assert int(inst.block[k]) == int(inst.sample[k]) * inst.labels.shape[1] + int(inst.channel[k])


@settings(max_examples=80)
@given(mask=masks, data=st.data())
def test_labels_are_those_of_scipy_in_raster_order(scipy_labels, mask, data):
    connectivity = data.draw(st.sampled_from([None, *range(1, mask.ndim - 1)]))
    inst = label_instances(mask, connectivity)
    expected, counts = scipy_labels(mask, connectivity)
    assert torch.equal(inst.labels, expected)
    assert inst.count == sum(counts)
    assert inst.block.tolist() == [block for block, count in enumerate(counts) for _ in range(count)]
    check_bookkeeping(inst)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (torch.bool, [True]),
        (torch.uint8, [1, 2, 255]),
        (torch.int16, [1, -1, 256]),
        (torch.int32, [1, -(2**31)]),
        (torch.int64, [1, 2**40, -(2**40)]),
        # the last ones underflow to 0 in a narrower type
        (torch.float16, [1, -0.5, 6e-8]),
        (torch.bfloat16, [1, -0.5, 1e-38]),
        (torch.float32, [1, -0.5, 1e-45]),
        (torch.float64, [1, -0.5, 1e-300]),
    ],
)
def test_foreground_is_everything_but_zero_in_any_dtype(scipy_labels, dtype, values):
    foreground = random_mask((2, 1, 7, 8), 0.4, 3)
    expected, _ = scipy_labels(foreground)
    for value in values:
        mask = torch.zeros(foreground.shape, dtype=dtype).masked_fill(foreground, value)
        assert torch.equal(label_instances(mask).labels, expected)


def test_negative_zero_is_background():
    assert label_instances(torch.full((1, 1, 2, 2), -0.0)).count == 0


LAYOUTS = {
    "transposed": lambda m: m.transpose(2, 3),
    "permuted batch": lambda m: m.transpose(0, 1),
    "every second voxel": lambda m: m[..., ::2],
    "cropped": lambda m: m[:, :, 1:, 2:],
    "flipped": lambda m: m.flip(2),
    "expanded channel": lambda m: m[:, :1].expand(-1, 3, *[-1] * (m.ndim - 2)),
    "expanded axis": lambda m: m[..., :1].expand_as(m),
    "channels last": lambda m: m.contiguous(
        memory_format=torch.channels_last if m.ndim == 4 else torch.channels_last_3d
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 2, 6, 9), (2, 2, 5, 6, 7)])
def test_memory_layout_does_not_matter(scipy_labels, layout, shape):
    for dtype in (torch.bool, torch.float32):
        mask = LAYOUTS[layout](random_mask(shape, 0.35, 5).to(dtype))
        inst = label_instances(mask)
        assert torch.equal(inst.labels, scipy_labels(mask.contiguous())[0])
        check_bookkeeping(inst)


def test_meta_tensors_give_plain_labels(scipy_labels):
    mask = random_mask((1, 2, 6, 6), 0.4, 1).float()
    inst = label_instances(MetaTensor(mask, affine=torch.eye(4) * 2))
    assert torch.equal(inst.labels, scipy_labels(mask)[0])
    check_bookkeeping(inst)
    check_bookkeeping(instances_from_map(MetaTensor(inst.labels)))


def test_input_is_neither_changed_nor_aliased_and_labelling_has_no_gradient():
    mask = random_mask((1, 1, 5, 5), 0.5, 2).float().requires_grad_()
    before, version = mask.detach().clone(), mask._version
    inst = label_instances(mask)
    inst.labels.fill_(7)
    assert torch.equal(mask.detach(), before)
    assert mask._version == version
    assert not inst.labels.requires_grad


@pytest.mark.parametrize(
    "shape",
    [(0, 1, 4, 4), (0, 2, 4, 4, 4), (2, 0, 4, 4), (1, 1, 0, 4), (1, 2, 4, 0, 3), (0, 0, 0, 0)],
    ids=str,
)
@pytest.mark.parametrize("function", [label_instances, instances_from_map])
def test_nothing_to_label(function, shape):
    inst = function(torch.ones(shape, dtype=torch.int32))
    assert inst.labels.shape == shape
    assert inst.count == 0
    check_bookkeeping(inst)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 1, 1, 1), (2, 1, 1, 6), (1, 2, 6, 1), (1, 1, 1, 5, 1)], ids=str)
def test_size_one_axes(scipy_labels, shape):
    mask = random_mask(shape, 0.5, 4)
    mask[(-1,) * len(shape)] = True
    for connectivity in range(1, len(shape) - 1):
        assert torch.equal(label_instances(mask, connectivity).labels, scipy_labels(mask, connectivity)[0])


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 2)], ids=str)
def test_all_foreground_is_one_instance_a_channel(shape):
    inst = label_instances(torch.ones(shape))
    assert inst.count == 6
    ids = torch.arange(1, 7, dtype=torch.int32).view(2, 3, *[1] * (len(shape) - 2))
    assert torch.equal(inst.labels, ids.expand(shape))
    assert inst.sample.tolist() == [0, 0, 0, 1, 1, 1]
    assert inst.channel.tolist() == [0, 1, 2, 0, 1, 2]


def test_samples_and_channels_never_connect():
    mask = torch.zeros(2, 2, 3, 3)
    mask[:, :, 2, 2] = mask[:, :, 0, 0] = 1
    assert label_instances(mask).count == 8


def test_long_paths_are_one_instance(long_path):
    assert int(long_path.sum()) > 1000
    for connectivity in (1, 2):
        assert label_instances(long_path, connectivity).count == 1
    volume = torch.zeros(1, 1, 3, *long_path.shape[2:], dtype=torch.bool)
    volume[:, :, 1] = long_path
    for connectivity in (1, 2, 3):
        assert label_instances(volume, connectivity).count == 1


def test_more_instances_than_sixteen_bits():
    # isolated voxels, 256 * 257 = 65792 in a block, then another block that must go on counting
    mask = torch.zeros(2, 1, 512, 514, dtype=torch.bool)
    mask[..., ::2, ::2] = True
    inst = label_instances(mask)
    assert inst.count == 2 * 65792
    assert torch.equal(inst.labels[mask], torch.arange(1, inst.count + 1, dtype=torch.int32))


@pytest.mark.parametrize(
    ("mask", "connectivity", "error", "message"),
    [
        (np.ones((1, 1, 2, 2)), None, TypeError, "Expected `mask` to be a torch.Tensor, but got ndarray"),
        (None, None, TypeError, "Expected `mask` to be a torch.Tensor, but got NoneType"),
        (torch.ones(1, 1, 2, 2, dtype=torch.complex64), None, TypeError, "`mask` .*but got torch.complex64"),
        (torch.ones(1, 2, 2), None, ValueError, r"Expected `mask` .*but got shape \(1, 2, 2\)"),
        (torch.ones(1, 1, 2, 2, 2, 2), None, ValueError, r"Expected `mask` .*but got shape \(1, 1, 2, 2, 2, 2\)"),
        (torch.full((1, 1, 2, 2), torch.nan), None, ValueError, "Expected `mask` to be finite, but got NaN"),
        (torch.full((1, 1, 2, 2), -torch.inf), None, ValueError, "Expected `mask` to be finite, but got .*infinity"),
        (torch.ones(1, 1, 2, 2), 0, ValueError, r"Expected `connectivity` .*1\.\.2 .*but got 0"),
        (torch.ones(1, 1, 2, 2), 3, ValueError, r"Expected `connectivity` .*1\.\.2 .*but got 3"),
        (torch.ones(1, 1, 2, 2), -1, ValueError, r"Expected `connectivity` .*but got -1"),
        (torch.ones(1, 1, 2, 2), 1.5, ValueError, r"Expected `connectivity` .*but got 1\.5"),
        (torch.ones(1, 1, 2, 2), True, ValueError, "Expected `connectivity` .*but got True"),
        (torch.ones(1, 1, 2, 2), "full", (ValueError, TypeError), "Expected `connectivity` .*but got 'full'"),
        (torch.ones(1, 1, 2, 2, 2), 4, ValueError, r"Expected `connectivity` .*1\.\.3 .*but got 4"),
        (torch.ones(1, 1, 2, 2, 2), 26, ValueError, r"Expected `connectivity` .*but got 26"),
    ],
)
def test_bad_arguments_are_refused_by_name(mask, connectivity, error, message):
    with pytest.raises(error, match=message):
        label_instances(mask, connectivity)


def test_names_at_the_top_of_the_package():
    assert monai_instance_loss.label_instances is label_instances
    assert monai_instance_loss.Instances is Instances


def naive_from_map(instance_map: torch.Tensor) -> torch.Tensor:
    labels = torch.zeros(instance_map.shape, dtype=torch.int32)
    count = 0
    for block in np.ndindex(*instance_map.shape[:2]):
        for old in sorted(set(instance_map[block].flatten().tolist())):
            if old > 0:
                count += 1
                labels[block][instance_map[block] == old] = count
    return labels


@settings(max_examples=40)
@given(mask=masks, seed=st.integers(0, 2**32 - 1))
def test_maps_with_shuffled_ids_and_gaps(mask, seed):
    rng = np.random.default_rng(seed)
    # any value of a handful, so that ids repeat in other blocks and lie in several pieces
    ids = torch.from_numpy(rng.choice([-3, 0, 1, 2, 7, 1000, 70000], size=mask.shape)) * mask
    inst = instances_from_map(ids)
    assert torch.equal(inst.labels, naive_from_map(ids))
    check_bookkeeping(inst)


@settings(max_examples=25)
@given(mask=masks)
def test_reading_back_a_label_map_changes_nothing(mask):
    inst = label_instances(mask)
    again = instances_from_map(inst.labels)
    assert torch.equal(again.labels, inst.labels)
    assert again.count == inst.count
    assert torch.equal(again.block, inst.block)


def test_an_id_in_two_pieces_is_one_instance_and_may_repeat_elsewhere():
    instance_map = torch.tensor([[9, 0, 9, 4], [0, 0, 0, 4]]).expand(2, 2, 2, 4)
    inst = instances_from_map(instance_map)
    assert inst.count == 8
    assert inst.labels[0, 0].tolist() == [[2, 0, 2, 1], [0, 0, 0, 1]]
    assert inst.labels[1, 1].tolist() == [[8, 0, 8, 7], [0, 0, 0, 7]]
    assert inst.sample.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert inst.channel.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float64]
)
def test_maps_of_any_dtype(dtype):
    inst = instances_from_map(torch.tensor([[[[0, 5, 5], [0, 0, 100]]]]).to(dtype))
    assert inst.labels.tolist() == [[[[0, 1, 1], [0, 0, 2]]]]


@pytest.mark.parametrize("big", [2**24 + 1, 2**31, 2**40, 2**62])
def test_ids_may_be_any_positive_number(big):
    instance_map = torch.zeros(3, 1, 1, 3, dtype=torch.int64)
    instance_map[..., 0], instance_map[..., 2] = big, 5
    inst = instances_from_map(instance_map)
    assert inst.labels[:, 0, 0].tolist() == [[2, 0, 1], [4, 0, 3], [6, 0, 5]]
    assert inst.sample.tolist() == [0, 0, 1, 1, 2, 2]


def test_negative_ids_are_background():
    assert instances_from_map(torch.tensor([[[[-1, 0, -7]]]])).count == 0


@pytest.mark.parametrize(
    ("instance_map", "error", "message"),
    [
        ([[1]], TypeError, "Expected `instance_map` to be a torch.Tensor, but got list"),
        (torch.ones(2, 2), ValueError, r"Expected `instance_map` .*but got shape \(2, 2\)"),
        (torch.full((1, 1, 2, 2), 1.5), ValueError, "Expected `instance_map` to hold whole numbers, but got fractions"),
        (torch.full((1, 1, 2, 2), torch.nan), ValueError, "Expected `instance_map` .*but got .*NaN"),
        (torch.full((1, 1, 2, 2), torch.inf), ValueError, "Expected `instance_map` .*but got .*infinity"),
    ],
)
def test_bad_maps_are_refused_by_name(instance_map, error, message):
    with pytest.raises(error, match=message):
        instances_from_map(instance_map)


def test_one_nan_among_ids_is_refused():
    instance_map = torch.zeros(1, 1, 3, 3)
    instance_map[0, 0, 0, 0], instance_map[0, 0, 2, 2] = 3, torch.nan
    with pytest.raises(ValueError, match=r"Expected `instance_map` .*but got .*NaN"):
        instances_from_map(instance_map)
