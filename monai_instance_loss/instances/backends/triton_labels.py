"""CUDA labelling in Triton: union-find by atomic minimum, first within tiles and then across their borders."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from monai_instance_loss.instances.backends.propagation import DenseLabels

# voxels along z, y and x, of an image and of a volume; powers of two, and whole programs to a tile
_TILES = {2: (1, 32, 32), 3: (4, 8, 32)}
# a program is one warp: its loops end with its own lanes, without a barrier a step
_LANES = 128
# so many voxels, tiles filled up, need an index of 64 bits
_LONG = 2**31
# no new compilation for the extents of each volume
_EXTENTS = ("depth", "height", "width")


def label_blocks_triton(mask: torch.Tensor, connectivity: int) -> tuple[DenseLabels, torch.Tensor]:
    """Label a bool (blocks, *spatial) mask by union-find; see ``label_blocks``.

    Links always point to a smaller index. So a tree's root is its component's first voxel in raster order, whichever
    lane comes first. Tiles are flattened before they are joined, which keeps the trees shallow.
    """
    mask = mask.contiguous()
    foreground = mask.view(torch.uint8)
    # an image is a volume of one slice, where the same steps join the same voxels
    extents = (1,) * (4 - mask.ndim) + tuple(mask.shape[1:])
    tile = _TILES[mask.ndim - 1]
    lanes = mask.shape[0] * math.prod(
        triton.cdiv(extent, side) * side for extent, side in zip(extents, tile, strict=True)
    )
    index = torch.int64 if lanes >= _LONG else torch.int32
    parent = torch.empty(mask.numel(), dtype=index, device=mask.device)

    by_tile = (lanes // _LANES,)
    by_voxel = (triton.cdiv(mask.numel(), _LANES),)
    # triton launches on the current device, which need not be the one of the mask
    with torch.cuda.device_of(mask):
        _start[by_tile](foreground, parent, *extents, *tile, _LANES, num_warps=1)
        for within in (True, False):
            _join[by_tile](foreground, parent, *extents, *tile, _LANES, connectivity, within, num_warps=1)
            _flatten[by_voxel](foreground, parent, mask.numel(), _LANES, num_warps=1)

    is_root = mask.view(-1) & (parent == torch.arange(mask.numel(), dtype=index, device=mask.device))
    rank = is_root.cumsum(0, dtype=torch.int32)
    labels = rank.index_select(0, parent).view(mask.shape).mul_(foreground)
    last = rank.view(mask.shape[0], -1)[:, -1].long()
    return DenseLabels(labels), torch.diff(last, prepend=last.new_zeros(1))


@triton.jit(do_not_specialize=_EXTENTS)
def _start(
    mask: tl.tensor,
    parent: tl.tensor,
    depth: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    tile_z: tl.constexpr,
    tile_y: tl.constexpr,
    tile_x: tl.constexpr,
    lanes: tl.constexpr,
) -> None:
    """Hang each voxel below the first voxel of its run along x within the tile."""
    _, _, x, node, inside = _place(parent, depth, height, width, tile_z, tile_y, tile_x, lanes)
    run = node
    steps = x % tile_x
    walking = _foreground(mask, node, inside) & (steps > 0)
    while tl.max(walking.to(tl.int32), axis=0) > 0:
        walking = _foreground(mask, run - 1, walking)
        run = tl.where(walking, run - 1, run)
        steps = tl.where(walking, steps - 1, steps)
        walking = walking & (steps > 0)
    tl.store(parent + node, run, mask=inside)


@triton.jit(do_not_specialize=_EXTENTS)
def _join(
    mask: tl.tensor,
    parent: tl.tensor,
    depth: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    tile_z: tl.constexpr,
    tile_y: tl.constexpr,
    tile_x: tl.constexpr,
    lanes: tl.constexpr,
    connectivity: tl.constexpr,
    within: tl.constexpr,
) -> None:
    """Join each voxel with its neighbours in earlier rows: those within its tile, or those in other tiles."""
    z, y, x, node, inside = _place(parent, depth, height, width, tile_z, tile_y, tile_x, lanes)
    here = _foreground(mask, node, inside)
    left = _foreground(mask, node - 1, here & (x > 0))
    right = _foreground(mask, node + 1, here & (x + 1 < width))
    if not within:
        _unite(parent, node, node - 1, left & (x % tile_x == 0))
    # a run is in one piece within its tile only
    left = left & (x % tile_x > 0)
    y_above = here & (y > 0)
    y_same = y % tile_y > 0
    diagonal: tl.constexpr = connectivity > 1
    _join_row(mask, parent, node, node - width, y_above, y_same, left, right, x, width, tile_x, diagonal, within)
    if depth > 1:
        z_above = here & (z > 0)
        z_same = z % tile_z > 0
        row = node - height * width
        _join_row(mask, parent, node, row, z_above, z_same, left, right, x, width, tile_x, diagonal, within)
        if diagonal:
            corner: tl.constexpr = connectivity > 2
            above = z_above & (y > 0)
            same = z_same & y_same
            _join_row(mask, parent, node, row - width, above, same, left, right, x, width, tile_x, corner, within)
            above = z_above & (y + 1 < height)
            same = z_same & (y % tile_y < tile_y - 1)
            _join_row(mask, parent, node, row + width, above, same, left, right, x, width, tile_x, corner, within)


@triton.jit
def _join_row(
    mask: tl.tensor,
    parent: tl.tensor,
    node: tl.tensor,
    other: tl.tensor,
    exists: tl.tensor,
    same: tl.tensor,
    left: tl.tensor,
    right: tl.tensor,
    x: tl.tensor,
    width: tl.tensor,
    tile_x: tl.constexpr,
    diagonal: tl.constexpr,
    within: tl.constexpr,
) -> None:
    """Join each voxel with the voxel `other` at the same x in another row, or else with those on its two sides."""
    straight = _foreground(mask, other, exists)
    before = _foreground(mask, other - 1, exists & (x > 0))
    # two runs side by side need one link, where the later one of them starts
    link = straight & ~(left & before) & (same == within)
    if diagonal:
        after = _foreground(mask, other + 1, exists & (x + 1 < width))
        ahead = after & ~straight & ~right & ((same & (x % tile_x < tile_x - 1)) == within)
        _unite(parent, node, other + 1, ahead)
        back = before & ~straight & ~left & ((same & (x % tile_x > 0)) == within)
        link = link | back
        other = tl.where(back, other - 1, other)
    _unite(parent, node, other, link)


@triton.jit(do_not_specialize=["voxels"])
def _flatten(mask: tl.tensor, parent: tl.tensor, voxels: tl.tensor, lanes: tl.constexpr) -> None:
    """Hang each voxel directly below its root."""
    node = tl.program_id(0).to(parent.dtype.element_ty) * lanes + tl.arange(0, lanes)
    here = _foreground(mask, node, node < voxels)
    root = tl.load(parent + node, mask=here, other=0)
    above = tl.load(parent + root, mask=here, other=0)
    while tl.max((here & (above != root)).to(tl.int32), axis=0) > 0:
        root = above
        above = tl.load(parent + root, mask=here, other=0)
    tl.store(parent + node, root, mask=here)


@triton.jit
def _place(
    parent: tl.tensor,
    depth: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    tile_z: tl.constexpr,
    tile_y: tl.constexpr,
    tile_x: tl.constexpr,
    lanes: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Coordinates and index of the voxel of each lane, and whether there is one; tile after tile."""
    programs: tl.constexpr = tile_z * tile_y * tile_x // lanes
    program = tl.program_id(0).to(parent.dtype.element_ty)
    lane = (program % programs) * lanes + tl.arange(0, lanes)
    tile = program // programs
    x = tile % tl.cdiv(width, tile_x) * tile_x + lane % tile_x
    tile = tile // tl.cdiv(width, tile_x)
    y = tile % tl.cdiv(height, tile_y) * tile_y + lane // tile_x % tile_y
    tile = tile // tl.cdiv(height, tile_y)
    z = tile % tl.cdiv(depth, tile_z) * tile_z + lane // (tile_x * tile_y)
    block = tile // tl.cdiv(depth, tile_z)
    node = ((block * depth + z) * height + y) * width + x
    return z, y, x, node, (z < depth) & (y < height) & (x < width)


@triton.jit
def _foreground(mask: tl.tensor, node: tl.tensor, where: tl.tensor) -> tl.tensor:
    return tl.load(mask + node, mask=where, other=0) != 0


@triton.jit
def _unite(parent: tl.tensor, one: tl.tensor, other: tl.tensor, open_link: tl.tensor) -> None:
    """Make one tree of the trees of two nodes."""
    while tl.max(open_link.to(tl.int32), axis=0) > 0:
        # volatile: other programs write here, and a cache near the cores would go on showing old links
        one_above = tl.load(parent + one, mask=open_link, other=0, volatile=True)
        other_above = tl.load(parent + other, mask=open_link, other=0, volatile=True)
        low = tl.minimum(one_above, other_above)
        high = tl.maximum(one_above, other_above)
        open_link = open_link & (low != high)
        at_roots = open_link & (one_above == one) & (other_above == other)
        above = tl.atomic_min(parent + high, low, mask=at_roots, sem="relaxed")
        # another lane may have hung `high` elsewhere since it was read: then that node and `low` are still to be joined
        one = tl.where(at_roots, above, high)
        other = low
        open_link = open_link & ~(at_roots & (above == high))
