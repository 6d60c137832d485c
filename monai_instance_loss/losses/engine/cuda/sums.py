"""Sums of a few maps over the regions of a volume; nothing here waits for the device or depends on what it finds."""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

import torch

from monai_instance_loss.instances import backends
from monai_instance_loss.losses.engine.eager import refuse_second_derivative
from monai_instance_loss.losses.engine.reading import softplus

__all__ = ["MapName", "region_map", "region_sums"]

MapName = Literal["voxels", "p", "p_fixed", "ce_on", "ce_off"]

# slots that the background of a row is dealt out to: additions to a single one would wait for each other on a GPU
_SLOTS = 1024


def region_sums(
    logit: torch.Tensor, region: torch.Tensor, count: int, names: tuple[MapName, ...]
) -> dict[MapName, torch.Tensor]:
    """Sum maps of a volume over its regions, each voxel being in one of them.

    Source: ours. A volume is read twice forwards, the first time for its largest logit, and once backwards, by Triton
    kernels on CUDA and by plain torch elsewhere. Sums are those of 64-bit integers on a common scale, which have no
    order: the same numbers every time. In a volume of less than 2**n voxels each of them is rounded to a multiple of
    2**(n - 61), times the largest logit plus one for cross-entropies. The host reads nothing from the device, and all
    shapes follow from the arguments. Differentiable in ``logit``, once.

    Args:
        logit: (R, *spatial), any float type; computed in float32, or float64 for float64.
        region: int32 (R, *spatial), each in 0..count-1. Regions 0..R-1 are the backgrounds of the R rows, where most
            voxels are; those of a row are in no other row's. Values out of range are not looked for.
        count: the number of regions, at least R.
        names: any of ``"voxels"``, the number of voxels, ``"p"``, the probability, ``"p_fixed"``, p * p with the
            second factor held fixed, ``"ce_on"``, -log p, and ``"ce_off"``, -log(1 - p).

    Returns:
        Sums (count,) by name, float32 or float64, and int64 for the voxels. A logit that is NaN or infinite anywhere
        makes all sums NaN but those of voxels.

    Raises:
        ValueError: shapes, types or names are not as above.

    Example:
        >>> logit, region = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[0, 0, 1]], dtype=torch.int32)
        >>> sums = region_sums(logit, region, 3, ("voxels", "p"))
        >>> sums["voxels"].tolist(), sums["p"].tolist()
        ([2, 1, 0], [1.0, 0.5, 0.0])
    """
    if unknown := [name for name in names if name not in get_args(MapName)]:
        raise ValueError(f"Expected `names` to be among {get_args(MapName)}, but got {unknown[0]!r}.")
    if not logit.is_floating_point() or logit.ndim < 2:
        raise ValueError(
            f"Expected `logit` to be a float (R, *spatial), but got {logit.dtype} of shape {tuple(logit.shape)}."
        )
    if region.dtype != torch.int32 or region.shape != logit.shape:
        raise ValueError(
            f"Expected `region` to be int32 with the shape of `logit`, {tuple(logit.shape)}, but got {region.dtype} "
            f"of shape {tuple(region.shape)}."
        )
    if count < logit.shape[0]:
        raise ValueError(f"Expected `count` to be at least the number of rows, {logit.shape[0]}, but got {count}.")
    maps = tuple(name for name in names if name != "voxels")
    sums, voxels = _RegionSums.apply(logit.flatten(1), region.flatten(1), count, maps, "voxels" in names)
    by_name = dict(zip(maps, sums.unbind(0), strict=True))
    return {name: voxels[0] if name == "voxels" else by_name[name] for name in names}


def region_map(true: torch.Tensor, pred: torch.Tensor, both: torch.Tensor, capacity: tuple[int, int]) -> torch.Tensor:
    """Number the regions that two label maps and the labels of their overlap cut a volume into.

    Source: ours. The first R regions are the rows' backgrounds, as ``region_sums`` wants them; then come the true
    instances outside of the prediction, the predicted ones outside of the truth, and the overlaps. The host reads
    nothing from the device. Differentiable: nothing.

    Args:
        true: int32 (R, *spatial) labels 0..K, 0 being background.
        pred: int32 (R, *spatial) labels 0..M.
        both: int32 (R, *spatial) labels, above 0 exactly where ``true`` and ``pred`` are.
        capacity: (K, M), the largest ids that ``true`` and ``pred`` may have.

    Returns:
        int32 (R, *spatial): of row r, r where there is neither, R + true - 1 where there is ``true`` alone,
        R + K + pred - 1 where there is ``pred`` alone, and R + K + M + both - 1 where there are both.

    Raises:
        ValueError: a map is not int32, or the shapes differ.

    Example:
        >>> true, pred, both = (torch.tensor([row], dtype=torch.int32) for row in ([0, 2, 2], [0, 0, 1], [0, 0, 1]))
        >>> region_map(true, pred, both, (3, 4))
        tensor([[0, 2, 8]], dtype=torch.int32)
    """
    for name, labels in (("true", true), ("pred", pred), ("both", both)):
        if labels.dtype != torch.int32 or labels.ndim < 2 or labels.shape != true.shape:
            raise ValueError(
                f"Expected `{name}` to be int32 (R, *spatial), as large as `true`, but got {labels.dtype} of shape "
                f"{tuple(labels.shape)}."
            )
    rows = true.shape[0]
    first = rows, rows + capacity[0], rows + sum(capacity)
    if _in_triton(true):
        from monai_instance_loss.losses.engine.cuda.kernels import region_map_triton

        flat = [labels.flatten(1).contiguous() for labels in (true, pred, both)]
        return region_map_triton(flat[0], flat[1], flat[2], first).view(true.shape)
    region = torch.arange(rows, dtype=torch.int32, device=true.device).view(-1, *[1] * (true.ndim - 1))
    region = torch.where(pred > 0, pred + (first[1] - 1), region)
    region = torch.where(true > 0, true + (first[0] - 1), region)
    return torch.where(both > 0, both + (first[2] - 1), region)


def _in_triton(values: torch.Tensor) -> bool:
    """Whether the kernels are to run: on CUDA unless the environment names another backend, or where it names them."""
    named = os.environ.get(backends._VARIABLE)
    wanted = named == "triton" if named is not None else values.device.type != "cpu"
    return wanted and values.numel() > 0 and not backends._obstacle("triton", values.device.type)


class _RegionSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logit: torch.Tensor, region: torch.Tensor, count: int, maps: tuple[MapName, ...], voxels: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logit, region = logit.contiguous(), region.contiguous()
        ctx.save_for_backward(logit, region)
        ctx.maps = maps
        scale = _scale(logit, maps)
        names = (*maps, "voxels") if voxels else maps
        if _in_triton(logit):
            # triton is optional, and slow to import
            from monai_instance_loss.losses.engine.cuda.kernels import sum_maps_triton

            table = sum_maps_triton(logit, region, scale, count, names)
        else:
            table = _sum_maps(logit, region, scale, count, names)
        sums = table[: len(maps)] / scale[:, None]
        # a view would keep the whole table
        counts = table[len(maps) :].clone()
        ctx.mark_non_differentiable(counts)
        return sums, counts

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        refuse_second_derivative("a loss on logits of a sigmoid")
        logit, region = ctx.saved_tensors
        if _in_triton(logit):
            from monai_instance_loss.losses.engine.cuda.kernels import gradient_triton

            return gradient_triton(logit, region, grads[0], ctx.maps), None, None, None, None
        return _gradient(logit, region, grads[0], ctx.maps), None, None, None, None


def _scale(logit: torch.Tensor, maps: tuple[MapName, ...]) -> torch.Tensor:
    """The power of two for each map with which no sum leaves int64; NaN where a logit is not finite."""
    peak = _peak(logit)
    bits = 62 - logit.numel().bit_length()
    # probabilities are below 2, and cross-entropies below 2 to the exponent of `peak`
    of_p = torch.full_like(peak, 2.0 ** (bits - 1))
    # an exponent that is an integer may be raised in float32 whatever the type of the other argument
    of_ce = torch.ldexp(torch.ones_like(peak), bits - torch.frexp(peak).exponent.to(peak.dtype))
    scales = [of_ce if name in ("ce_on", "ce_off") else of_p for name in maps]
    # integers know no NaN: the sums get it from their scale
    return torch.stack(scales) + peak * 0 if scales else peak.new_empty(0)


def _peak(logit: torch.Tensor) -> torch.Tensor:
    """A bound of all cross-entropies; NaN or infinite where a logit is."""
    wide = logit.dtype if logit.dtype == torch.float64 else torch.float32
    if logit.numel() == 0:
        return torch.ones((), dtype=wide, device=logit.device)
    low, high = torch.aminmax(logit)
    return torch.maximum(-low, high).to(wide) + 1


def _sum_maps(
    logit: torch.Tensor, region: torch.Tensor, scale: torch.Tensor, count: int, names: tuple[MapName, ...]
) -> torch.Tensor:
    """``sum_maps_triton`` in torch."""
    rows, width = logit.shape
    row = torch.arange(rows, dtype=torch.int32, device=logit.device)[:, None]
    dealt = count + row * _SLOTS + torch.arange(width, dtype=torch.int32, device=logit.device) % _SLOTS
    slot = torch.where(region == row, dealt, region).view(-1)
    logit = logit.view(-1).to(scale.dtype)
    table = torch.zeros(len(names), count + rows * _SLOTS, dtype=torch.int64, device=logit.device)
    for line, name in enumerate(names):
        if name == "voxels":
            table[line].index_add_(0, slot, torch.ones_like(slot, dtype=torch.int64))
        else:
            table[line].index_add_(0, slot, (_values(logit, name) * scale[line] + 0.5).long())
    table[:, :rows] += table[:, count:].view(len(names), rows, _SLOTS).sum(2)
    return table[:, :count]


def _values(logit: torch.Tensor, name: MapName) -> torch.Tensor:
    if name == "ce_on":
        return softplus(-logit)
    if name == "ce_off":
        return softplus(logit)
    p = torch.sigmoid(logit)
    return p * p if name == "p_fixed" else p


def _gradient(
    logit: torch.Tensor, region: torch.Tensor, slope: torch.Tensor, maps: tuple[MapName, ...]
) -> torch.Tensor:
    """``gradient_triton`` in torch."""
    wide = logit.to(slope.dtype)
    # 1 - p as a difference would lose the digits of a p near 1
    p, rest = torch.sigmoid(wide), torch.sigmoid(-wide)
    grad = torch.zeros_like(wide)
    for name, of_region in zip(maps, slope, strict=True):
        of_voxel = of_region.index_select(0, region.view(-1)).view_as(wide)
        if name == "ce_on":
            grad -= rest * of_voxel
        elif name == "ce_off":
            grad += p * of_voxel
        else:
            grad += (p * rest * p if name == "p_fixed" else p * rest) * of_voxel
    return grad.to(logit.dtype)
