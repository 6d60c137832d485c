"""One pass over a volume of logits: some voxels are picked, all others summed up."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

__all__ = ["Reading", "SumName", "read", "softplus"]

SumName = Literal["p", "ce_off"]

# from this logit on, -log(1 - p) is the logit to the last bit of a float64
_LINEAR = 40
# voxels that stay in the cache of a CPU core between an activation and its sum
_PIECE = 2**19


class Reading(NamedTuple):
    """What ``read`` finds: logits at positions, and sums over all other voxels by name."""

    picked: torch.Tensor
    sums: dict[SumName, torch.Tensor]


def read(logit: torch.Tensor, position: torch.Tensor, sums: tuple[SumName, ...] = ()) -> Reading:
    """Pick the logits at some positions, and sum probabilities and cross-entropies of all other voxels, row by row.

    Source: ours. A volume is read once forwards and once backwards, and its gradient is the only map of its size that
    is written: activations are summed where they are computed, and computed again for the gradient. Differentiable in
    ``logit``, once.

    Args:
        logit: (R, *spatial), float32 or float64.
        position: int64 (V,), ascending flat positions to pick, which the sums leave out.
        sums: any of ``"p"``, the probability, and ``"ce_off"``, -log(1 - p).

    Returns:
        The logits (V,) at the positions, and the sums (R,) by name.

    Example:
        >>> picked, sums = read(torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([2]), ("p", "ce_off"))
        >>> picked.tolist(), sums["p"].tolist(), round(float(sums["ce_off"]), 4)
        ([3.0], [1.0], 1.3863)
    """
    picked, *totals = _Read.apply(logit.flatten(1), position, sums)
    return Reading(picked, dict(zip(sums, totals, strict=True)))


def softplus(logit: torch.Tensor) -> torch.Tensor:
    """-log(1 - p), in half the time of ``logsigmoid`` on the CPU."""
    return F.softplus(logit, threshold=_LINEAR)


def _sigmoid_into(out: torch.Tensor, logit: torch.Tensor) -> None:
    torch.sigmoid(logit, out=out)


def _softplus_into(out: torch.Tensor, logit: torch.Tensor) -> None:
    torch.ops.aten.softplus.out(logit, 1, _LINEAR, out=out)


def _log1p_exp_into(out: torch.Tensor, logit: torch.Tensor) -> None:
    torch.exp(logit, out=out).log1p_()


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logit: torch.Tensor, position: torch.Tensor, sums: tuple[SumName, ...]
    ) -> tuple[torch.Tensor, ...]:
        logit = logit.contiguous()
        ctx.save_for_backward(logit, position)
        ctx.sums = sums
        totals = _sums(logit, position, sums, quick=True)
        if not all(bool(total.isfinite().all()) for total in totals):
            totals = _sums(logit, position, sums, quick=False)
        return logit.view(-1).index_select(0, position), *(total.to(logit.dtype) for total in totals)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logit, position = ctx.saved_tensors
        if not ctx.sums:
            grad = torch.zeros_like(logit)
        else:
            grad = torch.empty_like(logit)
            slope = dict(zip(ctx.sums, (each[:, None] for each in grads[1:]), strict=True))
            # the derivative of p is p (1 - p), and that of its cross-entropy is p
            of_p = slope.get("p", torch.zeros_like(grads[1])[:, None])
            total = of_p + slope.get("ce_off", torch.zeros_like(of_p))
            for piece in _pieces(logit, position):
                p = piece.of(logit).sigmoid()
                torch.mul(p, -of_p[piece.rows], out=piece.of(grad)).add_(total[piece.rows]).mul_(p)
        grad.view(-1).index_copy_(0, position, grads[0])
        return grad, None, None


def _sums(logit: torch.Tensor, position: torch.Tensor, names: tuple[SumName, ...], quick: bool) -> list[torch.Tensor]:
    """Sums (R,) of logits (R, voxels); quick ones are in half the time, and infinite where a logit is above 88."""
    activations = {"p": _sigmoid_into, "ce_off": _log1p_exp_into if quick else _softplus_into}
    totals = [logit.new_zeros(logit.shape[0], dtype=torch.float64) for _ in names]
    pieces = _pieces(logit, position) if names else []
    # one buffer for all: a new one a piece takes longer to get than to fill
    buffer = logit.new_empty(max((piece.stop - piece.start for piece in pieces), default=0))
    for piece in pieces:
        values = buffer[: piece.stop - piece.start]
        for name, total in zip(names, totals, strict=True):
            activations[name](values, logit.view(-1)[piece.start : piece.stop])
            values.index_fill_(0, piece.picked, 0)
            total[piece.rows] += values.view(piece.rows.stop - piece.rows.start, -1).sum(1)
    return totals


class _Piece(NamedTuple):
    """Some rows, or a part of one, and which of its voxels are picked."""

    rows: slice
    start: int
    stop: int
    picked: torch.Tensor

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """The piece (rows, voxels) of values (R, voxels)."""
        return values.view(-1)[self.start : self.stop].view(self.rows.stop - self.rows.start, -1)


def _pieces(values: torch.Tensor, position: torch.Tensor) -> list[_Piece]:
    """Values (R, voxels), cut up where a cache is small, and the positions (V,) with them."""
    count, width = values.shape
    if values.device.type != "cpu":
        return [_Piece(slice(0, count), 0, values.numel(), position)]
    if width > _PIECE:
        edges = [
            (slice(row, row + 1), row * width + start, row * width + min(start + _PIECE, width))
            for row in range(count)
            for start in range(0, width, _PIECE)
        ]
    else:
        step = _PIECE // width
        edges = [
            (slice(row, min(row + step, count)), row * width, min(row + step, count) * width)
            for row in range(0, count, step)
        ]
    bounds = torch.searchsorted(position, torch.tensor([0, *(stop for _, _, stop in edges)])).tolist()
    return [
        _Piece(rows, start, stop, position[low:high] - start)
        for (rows, start, stop), low, high in zip(edges, bounds[:-1], bounds[1:], strict=True)
    ]
