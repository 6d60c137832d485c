"""One pass over a volume of logits: some voxels are picked, and all but some summed up."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from monai_instance_loss.losses.engine.eager import refuse_second_derivative

__all__ = ["Reading", "read", "softplus"]

# from this logit on, -log(1 - p) is the logit to the last bit of a float64
_LINEAR = 40
# voxels whose products are taken one with another
_STRETCH = 1024
# voxels that stay in the cache of a CPU core between an activation and its sum
_PIECE = 2**18


class Reading(NamedTuple):
    """What ``read`` finds: logits at positions, and sums over volumes by name."""

    picked: torch.Tensor
    sums: dict[str, torch.Tensor]


def read(logit: torch.Tensor, position: torch.Tensor, left_out: torch.Tensor, sums: tuple[str, ...] = ()) -> Reading:
    """Pick the logits at some positions, and sum probabilities and cross-entropies row by row, some voxels left out.

    Source: ours. A volume is read once forwards and once backwards, and its gradient is the only map of its size that
    is written: activations are summed where they are computed, and computed again for the gradient. Differentiable in
    ``logit``, once.

    Args:
        logit: (R, *spatial), float32 or float64.
        position: int64 (V,), flat positions to pick, no two the same.
        left_out: int64 (T,), ascending flat positions that the sums leave out.
        sums: any of ``"p"``, the probability, and ``"ce_off"``, -log(1 - p).

    Returns:
        The logits (V,) at the positions, and the sums (R,) by name.

    Example:
        >>> logit, position = torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([2])
        >>> picked, sums = read(logit, position, position, ("p", "ce_off"))
        >>> picked.tolist(), sums["p"].tolist(), round(float(sums["ce_off"]), 4)
        ([3.0], [1.0], 1.3863)
    """
    picked, *totals = _Read.apply(logit.flatten(1), position, left_out, sums)
    return Reading(picked, dict(zip(sums, totals, strict=True)))


def softplus(logit: torch.Tensor) -> torch.Tensor:
    """-log(1 - p), in half the time of ``logsigmoid`` on the CPU."""
    return F.softplus(logit, threshold=_LINEAR)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logit: torch.Tensor, position: torch.Tensor, left_out: torch.Tensor, sums: tuple[str, ...]
    ) -> tuple[torch.Tensor, ...]:
        logit = logit.contiguous()
        ctx.save_for_backward(logit, position, left_out)
        ctx.sums = sums
        # a GPU would have to be waited for
        quick = logit.device.type == "cpu"
        totals = _sums(logit, left_out, sums, quick)
        if quick and not all(math.isfinite(total.sum()) for total in totals):
            totals = _sums(logit, left_out, sums, quick=False)
        return logit.view(-1).index_select(0, position), *(total.to(logit.dtype) for total in totals)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        refuse_second_derivative("a loss on logits of a sigmoid")
        logit, position, left_out = ctx.saved_tensors
        if ctx.sums:
            grad = _gradient(logit, left_out, dict(zip(ctx.sums, grads[1:], strict=True)))
        else:
            grad = torch.zeros_like(logit)
        grad.view(-1).index_add_(0, position, grads[0])
        return grad, None, None, None


def _sums(logit: torch.Tensor, left_out: torch.Tensor, names: tuple[str, ...], quick: bool) -> list[torch.Tensor]:
    """Sums (R,) of logits (R, voxels); quick ones are in half the time, and overflow where logits are large."""
    totals = {name: logit.new_zeros(logit.shape[0], dtype=torch.float64) for name in names}
    pieces = _pieces(logit, left_out) if names else []
    # buffers for all: new ones a piece take longer to get than to fill
    size = max((piece.stop - piece.start for piece in pieces), default=0)
    buffers = [logit.new_empty(size) for _ in range(3 if quick else 1)]
    for piece in pieces:
        of_piece = (_quick_sums if quick else _slow_sums)(
            piece, logit, names, [buffer[: piece.stop - piece.start] for buffer in buffers]
        )
        for name, values in of_piece.items():
            totals[name][piece.rows].add_(values)
    return list(totals.values())


def _slow_sums(
    piece: _Piece, logit: torch.Tensor, names: tuple[str, ...], buffers: list[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Sums (rows,) of the piece by name."""
    (buffer,) = buffers
    sums = {}
    for name in names:
        if name == "p":
            torch.sigmoid(piece.flat(logit), out=buffer)
        else:
            torch.ops.aten.softplus.out(piece.flat(logit), 1, _LINEAR, out=buffer)
        sums[name] = piece.by_row(buffer.index_fill_(0, piece.left_out, 0)).sum(1)
    return sums


def _quick_sums(
    piece: _Piece, logit: torch.Tensor, names: tuple[str, ...], buffers: list[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The same from one exponential for all."""
    exp, more, other = (piece.by_row(buffer) for buffer in buffers)
    torch.exp(piece.flat(logit), out=buffers[0]).index_fill_(0, piece.left_out, 0)
    torch.add(exp, 1, out=more)
    sums = {}
    if "ce_off" in names:
        sums["ce_off"] = _log_sum(exp, more, other)
    if "p" in names:
        sums["p"] = torch.div(exp, more, out=more).sum(1)
    return sums


def _log_sum(values: torch.Tensor, more: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
    """Sums (r,) of log(1 + values) of values (r, n), ``more`` being 1 + values."""
    rows, width = values.shape
    if width % (4 * _STRETCH):
        return torch.log1p(values, out=buffer).sum(1)
    # a logarithm takes longer than a product: (1 + a) (1 + b) - 1 is a + b (1 + a). Stretches of voxels, so that a core
    # goes on with what it has in its cache
    a, b, c, d = values.view(-1, 4, _STRETCH).unbind(1)
    more_a, _, more_c, _ = more.view(-1, 4, _STRETCH).unbind(1)
    ab, cd, abcd, _ = buffer.view(-1, 4, _STRETCH).unbind(1)
    torch.addcmul(a, b, more_a, out=ab)
    torch.addcmul(c, d, more_c, out=cd)
    torch.addcmul(ab, cd, torch.add(ab, 1, out=abcd), out=abcd)
    return abcd.log1p_().view(rows, -1, _STRETCH).sum((1, 2))


def _gradient(logit: torch.Tensor, left_out: torch.Tensor, slopes: dict[str, torch.Tensor]) -> torch.Tensor:
    """The gradient of sums in the logits (R, voxels), from that in the sums (R,)."""
    grad = torch.empty_like(logit)
    zero = logit.new_zeros(logit.shape[0])
    # the derivative of p is p (1 - p), and that of its cross-entropy is p
    of_p = slopes.get("p", zero)[:, None]
    both = of_p + slopes.get("ce_off", zero)[:, None]
    pieces = _pieces(logit, left_out)
    buffer = logit.new_empty(max((piece.stop - piece.start for piece in pieces), default=0))
    for piece in pieces:
        p = buffer[: piece.stop - piece.start]
        torch.sigmoid(piece.flat(logit), out=p).index_fill_(0, piece.left_out, 0)
        p, out = piece.by_row(p), piece.by_row(piece.flat(grad))
        torch.mul(p, -of_p[piece.rows], out=out).add_(both[piece.rows]).mul_(p)
    return grad


class _Piece(NamedTuple):
    """Some rows, or a part of one, and which of its voxels are left out."""

    rows: slice
    start: int
    stop: int
    left_out: torch.Tensor

    def flat(self, values: torch.Tensor) -> torch.Tensor:
        """The piece of values (R, voxels)."""
        return values.view(-1)[self.start : self.stop]

    def by_row(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the piece, one row each."""
        return values.view(self.rows.stop - self.rows.start, -1)


def _pieces(values: torch.Tensor, left_out: torch.Tensor) -> list[_Piece]:
    """Values (R, voxels), cut up where a cache is small, and with them the positions (T,) that are left out."""
    count, width = values.shape
    if values.device.type != "cpu":
        return [_Piece(slice(0, count), 0, values.numel(), left_out)]
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
    bounds = torch.searchsorted(left_out, torch.tensor([0, *(stop for _, _, stop in edges)])).tolist()
    return [
        _Piece(rows, start, stop, left_out[low:high] - start)
        for (rows, start, stop), low, high in zip(edges, bounds[:-1], bounds[1:], strict=True)
    ]
