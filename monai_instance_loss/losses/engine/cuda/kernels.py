"""Region sums, their gradient and the map of regions in Triton: every volume is read once, and one is written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

# voxels of a program, all of one row; a power of two
_LANES = 1024
_WARPS = 4


def sum_maps_triton(
    logit: torch.Tensor, region: torch.Tensor, scale: torch.Tensor, count: int, names: Sequence[str]
) -> torch.Tensor:
    """Sums int64 (names, count) of maps over regions, each voxel rounded to a multiple of 1 / ``scale``.

    ``logit`` and ``region`` are contiguous (R, voxels); ``scale`` has an entry for each name but that of the voxels,
    which comes last, in float32, or float64 for float64 logits.
    """
    sums = torch.zeros(len(names), count, dtype=torch.int64, device=logit.device)
    # triton launches on the current device, which need not be the one of the logits
    with torch.cuda.device_of(logit):
        _sum_maps[_grid(logit)](
            logit, region, scale, sums, logit.shape[1], count, _LANES, **_lines(names), num_warps=_WARPS
        )
    return sums


def gradient_triton(
    logit: torch.Tensor, region: torch.Tensor, slope: torch.Tensor, names: Sequence[str]
) -> torch.Tensor:
    """The gradient of the sums in the logits (R, voxels), from that in the sums, ``slope`` (names, count)."""
    slope = slope.contiguous()
    grad = torch.empty_like(logit)
    lines = _lines(names)
    del lines["voxels"]
    with torch.cuda.device_of(logit):
        _gradient[_grid(logit)](
            logit, region, slope, grad, logit.shape[1], slope.shape[1], _LANES, **lines, num_warps=_WARPS
        )
    return grad


def region_map_triton(
    true: torch.Tensor, pred: torch.Tensor, both: torch.Tensor, first: tuple[int, int, int]
) -> torch.Tensor:
    """Regions int32 (R, voxels) of three contiguous label maps; ``first`` is the region of id 1 of each of them."""
    region = torch.empty_like(true)
    with torch.cuda.device_of(true):
        _map_regions[_grid(true)](true, pred, both, region, true.shape[1], *first, _LANES, num_warps=_WARPS)
    return region


def _grid(values: torch.Tensor) -> tuple[int]:
    rows, width = values.shape
    return (rows * triton.cdiv(width, _LANES),)


def _lines(names: Sequence[str]) -> dict[str, int]:
    """Which line of a table each map has, -1 for none."""
    order = list(names)
    return {name: order.index(name) if name in order else -1 for name in ("voxels", "p", "p_fixed", "ce_on", "ce_off")}


@triton.jit(do_not_specialize=["count"])
def _sum_maps(
    logit: tl.tensor,
    region: tl.tensor,
    scale: tl.tensor,
    sums: tl.tensor,
    width: tl.tensor,
    count: tl.tensor,
    lanes: tl.constexpr,
    voxels: tl.constexpr,
    p: tl.constexpr,
    p_fixed: tl.constexpr,
    ce_on: tl.constexpr,
    ce_off: tl.constexpr,
) -> None:
    """Add each voxel's maps to the sums of its region."""
    row, start, lane, inside = _place(width, lanes)
    where = tl.load(region + start + lane, mask=inside, other=-1)
    x = _widened(tl.load(logit + start + lane, mask=inside, other=0))
    # a lesion fills most of the blocks that it is in
    largest = tl.max(tl.where(where == row, -1, where), axis=0)
    if voxels >= 0:
        _add(sums, voxels, count, inside.to(tl.int64), where, row, largest)
    probability, _, faded = _activated(x)
    if p >= 0:
        _add(sums, p, count, _fixed_point(probability, scale + p), where, row, largest)
    if p_fixed >= 0:
        squared = probability * probability
        _add(sums, p_fixed, count, _fixed_point(squared, scale + p_fixed), where, row, largest)
    if ce_on >= 0:
        missing = tl.maximum(-x, 0) + _log1p(faded)
        _add(sums, ce_on, count, _fixed_point(missing, scale + ce_on), where, row, largest)
    if ce_off >= 0:
        excess = tl.maximum(x, 0) + _log1p(faded)
        _add(sums, ce_off, count, _fixed_point(excess, scale + ce_off), where, row, largest)


@triton.jit(do_not_specialize=["count"])
def _gradient(
    logit: tl.tensor,
    region: tl.tensor,
    slope: tl.tensor,
    grad: tl.tensor,
    width: tl.tensor,
    count: tl.tensor,
    lanes: tl.constexpr,
    p: tl.constexpr,
    p_fixed: tl.constexpr,
    ce_on: tl.constexpr,
    ce_off: tl.constexpr,
) -> None:
    """Write each voxel's derivative, its maps weighted by the slopes of its region."""
    _, start, lane, inside = _place(width, lanes)
    where = tl.load(region + start + lane, mask=inside, other=0)
    x = _widened(tl.load(logit + start + lane, mask=inside, other=0))
    probability, rest, _ = _activated(x)
    total = tl.zeros_like(x)
    if p >= 0:
        total += probability * rest * _looked_up(slope, p, count, where, inside)
    if p_fixed >= 0:
        total += probability * probability * rest * _looked_up(slope, p_fixed, count, where, inside)
    if ce_on >= 0:
        total -= rest * _looked_up(slope, ce_on, count, where, inside)
    if ce_off >= 0:
        total += probability * _looked_up(slope, ce_off, count, where, inside)
    tl.store(grad + start + lane, total.to(grad.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["first_true", "first_pred", "first_both"])
def _map_regions(
    true: tl.tensor,
    pred: tl.tensor,
    both: tl.tensor,
    region: tl.tensor,
    width: tl.tensor,
    first_true: tl.tensor,
    first_pred: tl.tensor,
    first_both: tl.tensor,
    lanes: tl.constexpr,
) -> None:
    """Write the region of each voxel."""
    row, start, lane, inside = _place(width, lanes)
    in_true = tl.load(true + start + lane, mask=inside, other=0)
    in_pred = tl.load(pred + start + lane, mask=inside, other=0)
    in_both = tl.load(both + start + lane, mask=inside, other=0)
    where = tl.where(in_pred > 0, first_pred + in_pred - 1, row)
    where = tl.where(in_true > 0, first_true + in_true - 1, where)
    where = tl.where(in_both > 0, first_both + in_both - 1, where)
    tl.store(region + start + lane, where, mask=inside)


@triton.jit
def _place(width: tl.tensor, lanes: tl.constexpr) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """The program's row, index of its first voxel, its lanes, and which of them have a voxel."""
    programs = tl.cdiv(width, lanes)
    row = tl.program_id(0) // programs
    # one index of 64 bits a program: those of the lanes count from it, and stay short
    offset = (tl.program_id(0) % programs).to(tl.int64) * lanes
    lane = tl.arange(0, lanes)
    return row, row.to(tl.int64) * width + offset, lane, lane < width - offset


@triton.jit
def _widened(values: tl.tensor) -> tl.tensor:
    """Half precision as float32."""
    return values if values.dtype == tl.float64 else values.to(tl.float32)


@triton.jit
def _activated(x: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """p and 1 - p, each with all its digits, and exp(-|x|)."""
    faded = tl.exp(-tl.abs(x))
    near = 1 / (1 + faded)
    far = faded * near
    return tl.where(x >= 0, near, far), tl.where(x >= 0, far, near), faded


@triton.jit
def _log1p(e: tl.tensor) -> tl.tensor:
    """log(1 + e) for e in [0, 1]; the quotient makes up for what 1 + e has lost of e."""
    u = 1 + e
    lost = u - 1
    return tl.where(lost == 0, e, tl.log(u) * (e / tl.where(lost == 0, 1, lost)))


@triton.jit
def _fixed_point(value: tl.tensor, scale: tl.tensor) -> tl.tensor:
    """The nearest integer to a value >= 0 on a scale that is a power of two, so that the product is exact."""
    return (value * tl.load(scale) + 0.5).to(tl.int64)


@triton.jit
def _add(
    sums: tl.tensor,
    line: tl.constexpr,
    count: tl.tensor,
    value: tl.tensor,
    where: tl.tensor,
    row: tl.tensor,
    largest: tl.tensor,
) -> None:
    """Add to the background of the row, and to one other region, in one step; and voxel by voxel to all others."""
    sums += line * tl.cast(count, tl.int64)
    tl.atomic_add(sums + row, tl.sum(tl.where(where == row, value, 0), axis=0), sem="relaxed")
    if largest >= 0:
        tl.atomic_add(sums + largest, tl.sum(tl.where(where == largest, value, 0), axis=0), sem="relaxed")
        others = (where >= 0) & (where != row) & (where != largest)
        tl.atomic_add(sums + where, value, mask=others, sem="relaxed")


@triton.jit
def _looked_up(
    slope: tl.tensor, line: tl.constexpr, count: tl.tensor, where: tl.tensor, inside: tl.tensor
) -> tl.tensor:
    """Each voxel's slope: that of its region."""
    return tl.load(slope + line * tl.cast(count, tl.int64) + where, mask=inside, other=0)
