"""Sums over regions: one pass over the foreground, however many instances there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from monai_instance_loss.instances.voxels import positions, unique_runs

__all__ = [
    "Fragments",
    "count_ids",
    "fragments",
    "presence",
    "segment_sum",
    "sorted_sum",
    "touching_pairs",
]

# values that stay in the cache of a CPU core
_PIECE = 2**16
# entries of a table a voxel
_TABLE = 8


@dataclass(frozen=True, eq=False)
class Fragments:
    """The foreground of two label maps, cut into the largest pieces that lie in one instance of each.

    Every sum over an instance, a union of instances or an overlap is a sum over fragments, so that maps are summed
    once, over fragments, and everything after that works on arrays of the size of the number of fragments.

    Attributes:
        position: int64 (V,); flat index of each voxel that is foreground in either map, in raster order.
        ids: int32 (V,); which fragment, 0..A-1, each of these voxels belongs to.
        true: int64 (A,); id of the instance of the first map that holds the fragment, 0 for none.
        pred: int64 (A,); the same for the second map. Fragments are sorted by (true, pred).
        voxels: int64 (A,); number of voxels of each fragment.
    """

    position: torch.Tensor
    ids: torch.Tensor
    true: torch.Tensor
    pred: torch.Tensor
    voxels: torch.Tensor

    @property
    def count(self) -> int:
        """Number of fragments A."""
        return self.true.numel()


def fragments(true: torch.Tensor, pred: torch.Tensor) -> Fragments:
    """Cut the foreground of two label maps into the pieces that lie in one instance of each.

    Source: ours. Differentiable: nothing.

    Args:
        true: integer labels of any shape, 0 being background.
        pred: integer labels of the same shape.

    Returns:
        The fragments.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import torch
        >>> parts = fragments(torch.tensor([1, 1, 0, 2]), torch.tensor([0, 1, 1, 0]))
        >>> list(zip(parts.true.tolist(), parts.pred.tolist(), parts.voxels.tolist()))
        [(0, 1, 1), (1, 0, 1), (1, 1, 1), (2, 0, 1)]
    """
    if true.shape != pred.shape:
        raise ValueError(
            f"Expected `pred` to have the shape of `true`, {tuple(true.shape)}, but got {tuple(pred.shape)}."
        )
    true, pred = true.reshape(-1), pred.reshape(-1)
    position = positions(torch.bitwise_or(true, pred).bool())
    return fragments_at(position, true[position], pred[position])


def fragments_at(position: torch.Tensor, true_ids: torch.Tensor, pred_ids: torch.Tensor) -> Fragments:
    """``fragments`` from the ids int32 (V,) at the positions int64 (V,) that are foreground in either map."""
    true_bound, base = (int(ids.max()) + 1 if ids.numel() else 1 for ids in (true_ids, pred_ids))
    bound = true_bound * base
    true_ids = true_ids.to(torch.int32 if bound < 2**31 else torch.int64)
    keys, ids, voxels = _count_keys(true_ids * base + pred_ids.to(true_ids.dtype), bound)
    return Fragments(
        position=position,
        ids=ids,
        true=torch.div(keys, base, rounding_mode="floor"),
        pred=keys % base,
        voxels=voxels,
    )


def _count_keys(keys: torch.Tensor, bound: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sorted distinct keys, int64, the index int32 of each key (V,) among them, and how many there are of each."""
    if bound > _TABLE * keys.numel():
        distinct, index = unique_runs(keys)
        return distinct.long(), index.int(), torch.bincount(index, minlength=distinct.numel())
    # a table of all pairs, where it is not much longer than the keys, saves sorting them
    counts = torch.bincount(keys, minlength=bound)
    distinct = positions(counts > 0)
    rank = torch.empty(bound, dtype=torch.int32, device=keys.device)
    rank[distinct] = torch.arange(distinct.numel(), dtype=torch.int32, device=keys.device)
    return distinct, rank.index_select(0, keys), counts[distinct]


def touching_pairs(true: torch.Tensor, pred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """List the pairs of instances of two label maps that share a voxel, and how many voxels they share.

    Source: ours. Differentiable: nothing.

    Args:
        true: integer labels of any shape, 0 being background.
        pred: integer labels of the same shape.

    Returns:
        Three int64 (pairs,): id in ``true``, id in ``pred``, overlap in voxels; sorted by the two ids.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import torch
        >>> touching_pairs(torch.tensor([1, 1, 0, 2]), torch.tensor([0, 1, 1, 0]))
        (tensor([1]), tensor([1]), tensor([1]))
    """
    parts = fragments(true, pred)
    both = (parts.true > 0) & (parts.pred > 0)
    return parts.true[both], parts.pred[both], parts.voxels[both]


def segment_sum(values: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Sum values that share an id: ``out[k]`` is the sum of ``values[ids == k]``.

    Source: ours. Differentiable in ``values``. The result does not depend on the order of the values, on any device:
    float32 is summed as 64-bit integers on a common scale, which is exact to 2**-38 of the largest value or better.

    Args:
        values: (V,), any float type. NaN or infinity anywhere makes every sum NaN.
        ids: int32 or int64 (V,), each in 0..count-1.
        count: the number of sums.

    Returns:
        (count,), float64 for float64 values and float32 otherwise.

    Example:
        >>> import torch
        >>> segment_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 1, 0]), 3)
        tensor([5., 2., 0.])
    """
    result: torch.Tensor = _SegmentSum.apply(values, ids, count)
    return result


def sorted_sum(values: torch.Tensor, ids: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """``segment_sum`` of values sorted by their ids; many values of few ids do not wait for each other on a GPU.

    Source: ours. Differentiable in ``values``; the same sums in any order and on any device, as those of
    ``segment_sum``.

    Args:
        values: (V,), float32 or float64, at least one; 0 from the last segment's end on.
        ids: int64 (V,), ascending, each in 0..count-1.
        last: int64 (count,), the index where each segment ends, exclusive.

    Returns:
        (count,), of the type of ``values``.

    Example:
        >>> import torch
        >>> sorted_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 0, 2]), torch.tensor([2, 2, 3]))
        tensor([3., 0., 4.])
    """
    result: torch.Tensor = _SortedSum.apply(values, ids, last)
    return result


def presence(values: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
    """How present each segment is, in [0, 1]: the mean of its probabilities, weighted by themselves.

    Source: Bouteille et al., BiCC, arXiv 2609.30223, eq. 3. It is 1 where probabilities are 0 or 1 and at least one is
    1, and 0 on a segment that is all 0. The weights ``p / sum(p)`` are held fixed, so that the gradient over a segment
    sums to one whatever its size.

    Args:
        values: (V,) probabilities, any float type. Differentiable.
        ids: int64 (V,), each in 0..count-1.
        count: the number of segments.

    Returns:
        (count,), float64 for float64 values and float32 otherwise.

    Example:
        >>> import torch
        >>> presence(torch.tensor([0.5, 0.5, 0.0, 1.0]), torch.tensor([0, 0, 1, 1]), 3)
        tensor([0.5000, 1.0000, 0.0000])
    """
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    fixed = values.detach()
    return weighted_mean(segment_sum(values * fixed, ids, count), segment_sum(fixed, ids, count))


def weighted_mean(weighted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """``weighted / weights`` with 0/0 = 0; the weights carry no gradient."""
    weights = weights.detach()
    return weighted / torch.where(weights == 0, torch.ones_like(weights), weights)


def count_ids(ids: torch.Tensor, count: int, counted: torch.Tensor | None = None) -> torch.Tensor:
    """How often each of 0..count-1 is among the ids (V,), int64 (count,); with ``counted``, bool (V,), only those."""
    if counted is None:
        return torch.bincount(ids, minlength=count)
    # bincount would wait for a GPU to tell the largest id
    return torch.zeros(count, dtype=torch.int64, device=ids.device).index_add_(0, ids, counted.long())


class _SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.dtype = values.dtype
        if values.dtype != torch.float64:
            return _sum_fixed_point(values.float(), ids, count)
        # a sorted accumulation on CUDA and a serial one on the CPU: the same order every time
        return values.new_zeros(count).index_put_((ids.long(),), values, accumulate=True) + values.abs().sum() * 0

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        return grads[0].index_select(0, ids).to(ctx.dtype), None, None


class _SortedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, ids: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.dtype = values.dtype
        scale, inverse = _fixed_point(values)
        running = torch.cat([ids.new_zeros(1), (values.double() * scale).long().cumsum(0)])
        sums = torch.diff(running[last], prepend=running[:1])
        return (sums.double() * inverse).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        return grads[0].index_select(0, ids).to(ctx.dtype), None, None


def _sum_fixed_point(values: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Sum float32 values as integers, which is associative: the same sum in any order, on any device."""
    if values.numel() == 0:
        return values.new_zeros(count)
    scale, inverse = _fixed_point(values)
    sums = torch.zeros(count, dtype=torch.int64, device=values.device)
    # in pieces that stay in the cache of a CPU core; integers may be added in any order
    step = _PIECE if values.device.type == "cpu" else values.numel()
    for start in range(0, values.numel(), step):
        part = values[start : start + step].double().mul_(scale).long()
        sums.index_add_(0, ids[start : start + step], part)
    return sums.double().mul_(inverse).float()


def _fixed_point(values: torch.Tensor) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """The power of two that makes integers of values of which any number can be added, and its inverse.

    The inverse is NaN if a value is not finite: integers know no NaN, and have it back from there.
    """
    low, high = torch.aminmax(values)
    # as many bits as the sum of all values can take without leaving int64
    bits = 62 - values.numel().bit_length()
    if values.device.type == "cpu":
        # at hand, and in half the time of tensors of one number
        largest = max(-float(low), float(high))
        scale = math.ldexp(1, bits - math.frexp(largest)[1])
        return scale, 1 / scale + largest * 0
    peak = torch.maximum(-low, high).double()
    scales = torch.ldexp(torch.ones_like(peak), bits - torch.frexp(peak).exponent)
    return scales, 1 / scales + peak * 0
