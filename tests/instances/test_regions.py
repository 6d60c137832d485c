from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_instance_loss.instances import fragments, presence, segment_sum, touching_pairs
from monai_instance_loss.instances.regions import count_ids, sorted_sum

label_maps = hnp.array_shapes(min_dims=1, max_dims=4, max_side=5).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.int32, shape, elements=st.sampled_from([0, 0, 0, 1, 2, 5, 1000]))] * 2)
)


# fragments and touching pairs


@settings(max_examples=60)
@given(maps=label_maps)
def test_fragments_are_the_pairs_of_ids(maps):
    true, pred = map(torch.from_numpy, maps)
    parts = fragments(true, pred)
    pairs = list(zip(true.flatten().tolist(), pred.flatten().tolist(), strict=True))
    expected = sorted(Counter(pair for pair in pairs if any(pair)).items())
    found = list(zip(parts.true.tolist(), parts.pred.tolist(), parts.voxels.tolist(), strict=True))
    assert found == [(*pair, count) for pair, count in expected]
    assert parts.count == len(expected)
    assert parts.position.tolist() == [k for k, pair in enumerate(pairs) if any(pair)]
    assert [found[part][:2] for part in parts.ids.tolist()] == [pair for pair in pairs if any(pair)]


@settings(max_examples=30)
@given(maps=label_maps)
def test_touching_pairs_are_those_of_a_double_loop(maps):
    true, pred = map(torch.from_numpy, maps)
    expected = []
    for i, j in itertools.product(sorted(set(true.flatten().tolist())), sorted(set(pred.flatten().tolist()))):
        overlap = int(((true == i) & (pred == j)).sum())
        if i and j and overlap:
            expected.append((i, j, overlap))
    found = touching_pairs(true, pred)
    assert list(zip(*(column.tolist() for column in found), strict=True)) == expected
    assert [column.dtype for column in found] == [torch.int64] * 3


def test_no_foreground_gives_no_fragments():
    for shape in ((0,), (3, 4), (2, 0, 5)):
        nothing = torch.zeros(shape, dtype=torch.int32)
        assert fragments(nothing, nothing).count == 0
        assert [column.tolist() for column in touching_pairs(nothing, nothing)] == [[], [], []]


def test_ids_whose_product_has_no_int32():
    true, pred = torch.tensor([2**31 - 1, 0], dtype=torch.int32), torch.tensor([2**31 - 2, 7], dtype=torch.int32)
    assert [column.tolist() for column in touching_pairs(true, pred)] == [[2**31 - 1], [2**31 - 2], [1]]


def test_ids_whose_product_is_just_above_int32():
    # 60001 * 60001 is above 2**31, and far below the square of that
    true = torch.tensor([60000, 60000, 1, 0], dtype=torch.int32)
    pred = torch.tensor([60000, 1, 0, 59999], dtype=torch.int32)
    parts = fragments(true, pred)
    assert list(zip(parts.true.tolist(), parts.pred.tolist(), strict=True)) == [
        (0, 59999),
        (1, 0),
        (60000, 1),
        (60000, 60000),
    ]
    assert parts.ids.tolist() == [3, 2, 1, 0]


# few ids are counted in a table, large ones are sorted
@pytest.mark.parametrize("largest", [2, 10**6])
def test_types_of_fragments(largest):
    parts = fragments(torch.tensor([0, 1, largest]), torch.tensor([1, 0, largest], dtype=torch.int32))
    assert parts.ids.dtype == torch.int32
    assert {column.dtype for column in (parts.position, parts.true, parts.pred, parts.voxels)} == {torch.int64}


@pytest.mark.parametrize("function", [fragments, touching_pairs])
def test_shapes_that_differ_are_refused(function):
    with pytest.raises(ValueError, match=r"Expected `pred` .*\(2, 3\), but got \(3, 2\)"):
        function(torch.zeros(2, 3, dtype=torch.int32), torch.zeros(3, 2, dtype=torch.int32))


# segment sums


@settings(max_examples=50)
@given(
    values=hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(-1e6, 1e6, width=32)),
    count=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_are_those_of_float64_in_any_order(values, count, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, count, values.size)
    expected = np.zeros(count)
    np.add.at(expected, ids, values.astype(np.float64))
    order = rng.permutation(values.size)
    for dtype, tolerance in ((torch.float32, 1e-7), (torch.float64, 1e-13)):
        sums = segment_sum(torch.from_numpy(values).to(dtype), torch.from_numpy(ids), count)
        assert sums.dtype == dtype
        bound = tolerance * (np.abs(values).max(initial=0) + np.abs(expected).max(initial=0))
        np.testing.assert_allclose(sums.numpy(), expected, rtol=0, atol=bound)
    shuffled = segment_sum(torch.from_numpy(values[order]), torch.from_numpy(ids[order]), count)
    assert torch.equal(shuffled, segment_sum(torch.from_numpy(values), torch.from_numpy(ids), count))


def test_float32_sums_do_not_depend_on_the_order_where_naive_ones_do():
    rng = np.random.default_rng(0)
    values = torch.from_numpy((rng.random(20000) * 10.0 ** rng.integers(-6, 3, 20000)).astype(np.float32))
    ids = torch.zeros(20000, dtype=torch.int64)
    orders = [torch.from_numpy(rng.permutation(20000)) for _ in range(5)]
    assert len({float(segment_sum(values[order], ids, 1)) for order in orders}) == 1
    assert len({float(torch.zeros(1).index_add_(0, ids, values[order])) for order in orders}) > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    # 4096 + 1 has no float16, 256 + 1 no bfloat16
    sums = segment_sum(torch.ones(4097, dtype=dtype), torch.zeros(4097, dtype=torch.int64), 1)
    assert sums.dtype == torch.float32
    assert sums.tolist() == [4097]


def test_a_large_segment_is_exact():
    values, ids = torch.full((2**22,), 0.5), torch.zeros(2**22, dtype=torch.int64)
    ids[0] = 1
    # (2^22 - 1) halves; a float32 sum one by one would be exact too, so a small value stands beside
    assert segment_sum(values, ids, 2).tolist() == [2**21 - 0.5, 0.5]


@pytest.mark.parametrize("value", [1e-45, 1e-38, 3e38, 1e-20, -7.5])
def test_the_whole_range_of_float32(value):
    values = torch.tensor([value, 0.0, value])
    assert torch.equal(segment_sum(values, torch.tensor([1, 0, 2]), 3), torch.tensor([0.0, value, value]))


def test_zeros_and_nothing():
    ids = torch.tensor([0, 2])
    assert segment_sum(torch.zeros(2), ids, 3).tolist() == [0, 0, 0]
    for count in (0, 4):
        nothing = torch.zeros(0, requires_grad=True)
        sums = segment_sum(nothing, ids[:0], count)
        sums.sum().backward()
        assert sums.tolist() == [0] * count
        assert nothing.grad.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_nan_or_infinity_anywhere_makes_every_sum_nan(bad, dtype):
    sums = segment_sum(torch.tensor([1.0, bad, 2.0], dtype=dtype), torch.tensor([0, 1, 2]), 3)
    assert sums.isnan().all()


def test_gradient_of_sums():
    ids = torch.tensor([0, 2, 2, 0, 3])
    values = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: segment_sum(v, ids, 5), values)
    assert torch.autograd.gradgradcheck(lambda v: segment_sum(v, ids, 5).square(), values)
    half = torch.ones(5, dtype=torch.float16, requires_grad=True)
    segment_sum(half, ids, 4).dot(torch.tensor([1.0, 2.0, 3.0, 4.0])).backward()
    assert half.grad.dtype == torch.float16
    assert half.grad.tolist() == [1, 3, 3, 1, 4]


# presence


def test_presence_by_hand():
    # (0.5^2 + 0.1^2) / 0.6 = 0.26 / 0.6; all 0 and no voxel at all: 0; one voxel: itself; 0 or 1 with a 1: 1
    values = torch.tensor([0.5, 0.1, 0.0, 0.0, 0.3, 1.0, 0.0, 1.0], dtype=torch.float64)
    ids = torch.tensor([0, 0, 1, 1, 3, 4, 4, 4])
    expected = torch.tensor([0.26 / 0.6, 0, 0, 0.3, 1], dtype=torch.float64)
    torch.testing.assert_close(presence(values, ids, 5), expected)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        score = presence(values.to(dtype), ids, 5)
        assert score.dtype == torch.float32
        torch.testing.assert_close(score, expected.float(), rtol=1e-2, atol=0)


def test_presence_is_between_the_mean_and_the_maximum():
    values = torch.rand(100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids = torch.arange(100) % 7
    score = presence(values, ids, 7)
    for k in range(7):
        assert values[ids == k].mean() < score[k] < values[ids == k].max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_gradient_of_presence_is_the_weights_and_sums_to_one(size, dtype):
    values = torch.rand(size + 3, generator=torch.Generator().manual_seed(2), dtype=dtype).requires_grad_()
    ids = torch.tensor([0] * size + [1] * 3)
    presence(values, ids, 2).sum().backward()
    fixed = values.detach()
    for k in (0, 1):
        inside = ids == k
        torch.testing.assert_close(values.grad[inside], fixed[inside] / fixed[inside].sum(), rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(values.grad[inside].sum(), torch.ones((), dtype=dtype), rtol=1e-5, atol=0)


def test_presence_of_a_segment_of_zeros_has_a_finite_gradient():
    values = torch.zeros(4, requires_grad=True)
    score = presence(values, torch.tensor([0, 0, 1, 1]), 2)
    score.sum().backward()
    assert score.tolist() == [0, 0]
    assert values.grad.isfinite().all()


def test_presence_does_not_depend_on_other_segments():
    # a lesion that the net all but denies, beside one that it is sure of
    for faint in (1e-3, 1e-6, 1e-9):
        values = torch.tensor([faint] * 4 + [1.0] * 5000, requires_grad=True)
        ids = torch.tensor([0] * 4 + [1] * 5000)
        score = presence(values, ids, 2)
        score[0].backward()
        torch.testing.assert_close(values.grad[:4], torch.full((4,), 0.25), rtol=1e-2, atol=0)


def test_presence_leaves_its_arguments_alone():
    values, ids = torch.tensor([0.2, 0.4]), torch.tensor([0, 0])
    presence(values, ids, 1)
    assert values.tolist() == torch.tensor([0.2, 0.4]).tolist()
    assert ids.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_fragments_of_any_integer(dtype):
    # 200 * 201 pairs do not fit into 8 bits, nor into 15
    true, pred = torch.tensor([0, 200, 199, 200, 1]), torch.tensor([200, 200, 0, 200, 7])
    true, pred = (labels.clamp(max=torch.iinfo(dtype).max).to(dtype) for labels in (true, pred))
    parts = fragments(true, pred)
    assert parts.true.tolist() == [0, 1, 199, 200]
    assert parts.pred.tolist() == [200, 7, 0, 200]
    assert parts.ids.tolist() == [0, 3, 2, 3, 1]
    assert parts.voxels.tolist() == [1, 1, 1, 2]


# sums of sorted values


@settings(max_examples=50)
@given(
    values=hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32)),
    count=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_of_sorted_values_are_those_of_any(values, count, seed):
    ids = torch.from_numpy(np.sort(np.random.default_rng(seed).integers(0, count, values.size)))
    last = torch.bincount(ids, minlength=count).cumsum(0)
    values = torch.from_numpy(values)
    assert torch.equal(sorted_sum(values, ids, last), segment_sum(values, ids, count))


def test_sorted_values_behind_the_last_segment_are_left_out():
    sums = sorted_sum(torch.tensor([1.0, 2.0, 0.0, 0.0]), torch.tensor([0, 1, 1, 1]), torch.tensor([1, 2]))
    assert sums.tolist() == [1.0, 2.0]


def test_nan_among_sorted_values_makes_every_sum_nan():
    assert sorted_sum(torch.tensor([1.0, torch.nan]), torch.tensor([0, 1]), torch.tensor([1, 2])).isnan().all()


def test_gradcheck_of_sums_of_sorted_values():
    values = torch.linspace(-1, 2, 7, dtype=torch.float64, requires_grad=True)
    ids, last = torch.tensor([0, 0, 2, 2, 2, 3, 3]), torch.tensor([2, 2, 5, 7])
    assert torch.autograd.gradcheck(lambda v: sorted_sum(v, ids, last), values)


def test_ids_are_counted_where_they_count():
    ids = torch.tensor([0, 2, 2, 1])
    assert count_ids(ids, 4).tolist() == [1, 1, 2, 0]
    assert count_ids(ids, 4, torch.tensor([True, False, True, False])).tolist() == [1, 0, 1, 0]
