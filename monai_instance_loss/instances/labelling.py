"""From masks to instances: the one place that labels connected components and that decides connectivity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from monai_instance_loss.instances.backends import Labels, SparseLabels, label_blocks
from monai_instance_loss.instances.voxels import positions, unique_runs

__all__ = ["Instances", "instances_from_map", "label_instances", "resolve_connectivity"]


@dataclass(frozen=True, eq=False)
class Instances:
    """The instances of a batch: a label map, and where each instance lives.

    Attributes:
        labels: int32 (B, C, *spatial); 0 is background, instance ``k`` of ``1..count`` has the value ``k``.
        source: the same as the backend left it.
        shape: (B, C, *spatial).
        block: int64 (N,); ``sample * C + channel``, the row of instance ``k + 1`` in a (B * C, ...) table.
        count: the number of instances N in the whole batch.
        sample: int64 (N,); the sample that instance ``k + 1`` lives in.
        channel: int64 (N,); the channel that instance ``k + 1`` lives in.
    """

    source: Labels
    shape: torch.Size
    block: torch.Tensor

    @cached_property
    def labels(self) -> torch.Tensor:
        """The label map, written when it is first asked for."""
        return self.source.dense().view(self.shape)

    def at(self, position: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
        """Ids int32 (V,) at ascending flat positions (V,) in (B, C, *spatial), without writing the whole map.

        ``inside``, bool (V,), which of the positions are foreground, saves looking that up; every voxel of the
        foreground has to be among them then.
        """
        return self.source.at(position, inside)

    @property
    def count(self) -> int:
        """The number of instances N."""
        return self.block.numel()

    @cached_property
    def sample(self) -> torch.Tensor:
        """int64 (N,): the sample that instance ``k + 1`` lives in."""
        return torch.div(self.block, max(self.shape[1], 1), rounding_mode="floor")

    @cached_property
    def channel(self) -> torch.Tensor:
        """int64 (N,): the channel that instance ``k + 1`` lives in."""
        return self.block % max(self.shape[1], 1)


def label_instances(mask: torch.Tensor, connectivity: int | None = None) -> Instances:
    """Label the connected components of a batch of masks; ids are 1..N over the whole batch.

    Source: connected-components-3d (decision trees) on the CPU; on CUDA union-find in Triton, with the atomic minimum
    of Komura (Comput. Phys. Commun. 2015) and Playne and Hawick (IEEE TPDS 2018); exact minimum-label propagation with
    pointer jumping elsewhere. Every backend gives the same map, bit for bit. The environment variable
    ``MONAI_INSTANCE_LOSS_LABELLING`` overrides the choice: ``cc3d``, ``triton`` or ``torch``.

    Convention: foreground is everything that is not zero. Ids follow the raster order of each instance's first voxel,
    sample by sample and channel by channel, so that they are unique over the batch. Samples and channels never
    connect. Labelling has no gradient.

    Args:
        mask: (B, C, H, W) or (B, C, H, W, D), bool, integer or float, any memory layout, MetaTensor allowed.
        connectivity: as in scipy and scikit-image, the largest number of orthogonal steps between neighbours:
            1..number of spatial dimensions (3D: 1, 2, 3 are 6, 18, 26 neighbours). ``None`` is full connectivity.

    Returns:
        The instances; ``labels`` is a plain contiguous tensor on the device of ``mask``.

    Raises:
        TypeError: ``mask`` is not a tensor, or complex.
        ValueError: ``mask`` is not 4D or 5D, holds NaN or infinity, ``connectivity`` is out of range, or
            ``MONAI_INSTANCE_LOSS_LABELLING`` is no backend.
        RuntimeError: the backend that ``MONAI_INSTANCE_LOSS_LABELLING`` names cannot run on the device of ``mask``.

    Example:
        >>> import torch
        >>> mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1]])[None, None]
        >>> label_instances(mask).labels[0, 0]
        tensor([[1, 1, 0, 0],
                [0, 0, 1, 0],
                [0, 0, 0, 0],
                [2, 0, 0, 3]], dtype=torch.int32)
        >>> label_instances(mask, connectivity=1).count
        4
    """
    if not isinstance(mask, torch.Tensor):
        raise TypeError(f"Expected `mask` to be a torch.Tensor, but got {type(mask).__name__}.")
    _check_dims("mask", mask)
    if mask.is_complex():
        raise TypeError(f"Expected `mask` to be bool, integer or float, but got {mask.dtype}.")
    connectivity = resolve_connectivity(connectivity, mask.ndim - 2)
    plain = mask.detach().as_subclass(torch.Tensor)
    if plain.is_floating_point() and not bool(torch.isfinite(plain).all()):
        raise ValueError("Expected `mask` to be finite, but got NaN or infinity.")
    if plain.dtype != torch.bool:
        plain = plain != 0
    return label_mask(plain, connectivity)


def label_mask(
    mask: torch.Tensor,
    connectivity: int,
    position: torch.Tensor | None = None,
    inside: torch.Tensor | None = None,
) -> Instances:
    """``label_instances`` of a plain bool mask; ``position`` and ``inside`` as in ``label_blocks``."""
    labels, counts = label_blocks(mask.flatten(0, 1), connectivity, position, inside)
    return _instances(labels, mask.shape, counts)


def instances_from_map(instance_map: torch.Tensor) -> Instances:
    """Read instances off a map that already tells them apart (any positive ids, unique within a sample's channel).

    Source: ours; the inverse of storing ``label_instances`` in a data pipeline. Ids may have gaps, may repeat in
    another sample or channel, and may be in any order (crops and flips leave them so); they come back as 1..N in order
    of (sample, channel, old id). An id in two pieces is still one instance. Values of zero and below are background.

    Args:
        instance_map: (B, C, *spatial) with 2 or 3 spatial dimensions, integer or float with integral values.

    Returns:
        The instances.

    Raises:
        TypeError: ``instance_map`` is not a tensor.
        ValueError: it is not 4D or 5D, or holds values that are not whole numbers.

    Example:
        >>> import torch
        >>> inst = instances_from_map(torch.tensor([[[[7, 0, 7], [0, 0, 3]]]]))
        >>> inst.count, inst.labels[0, 0].tolist()
        (2, [[2, 0, 2], [0, 0, 1]])
    """
    if not isinstance(instance_map, torch.Tensor):
        raise TypeError(f"Expected `instance_map` to be a torch.Tensor, but got {type(instance_map).__name__}.")
    _check_dims("instance_map", instance_map)
    plain = instance_map.detach().as_subclass(torch.Tensor)
    position = positions(plain.bool())
    ids = plain.reshape(-1)[position]
    if not bool(torch.isfinite(ids).all()):
        raise ValueError("Expected `instance_map` to hold whole numbers, but got NaN or infinity.")
    if not torch.equal(ids, ids.round() if plain.is_floating_point() else ids):
        raise ValueError("Expected `instance_map` to hold whole numbers, but got fractions.")
    positive = ids > 0
    return instances_at(position[positive], ids[positive], plain.shape)


def instances_at(position: torch.Tensor, ids: torch.Tensor, shape: torch.Size) -> Instances:
    """``instances_from_map`` of the positive whole numbers (V,) at ascending flat positions (V,) of a map."""
    ids = ids.long()
    if ids.numel() and int(ids.max()) > 2**31:
        # ids that would not fit into a key beside their block keep their order only
        ids = torch.unique(ids, return_inverse=True)[1]
    blocks = shape[0] * shape[1]
    block = torch.div(position, max(math.prod(shape[2:]), 1), rounding_mode="floor")
    base = int(ids.max()) + 1 if ids.numel() else 1
    keys, inverse = unique_runs(block * base + ids)
    counts = torch.bincount(torch.div(keys, base, rounding_mode="floor"), minlength=blocks)
    return _instances(SparseLabels(torch.Size((blocks, *shape[2:])), position, inverse.int() + 1), shape, counts)


def resolve_connectivity(connectivity: int | None, spatial_dims: int) -> int:
    """Turn ``None`` into full connectivity and refuse anything outside 1..spatial_dims."""
    if connectivity is None:
        return spatial_dims
    if isinstance(connectivity, bool) or connectivity not in range(1, spatial_dims + 1):
        raise ValueError(
            f"Expected `connectivity` to be None or an integer in 1..{spatial_dims} for {spatial_dims} spatial "
            f"dimensions, but got {connectivity!r}."
        )
    return int(connectivity)


def _check_dims(name: str, value: torch.Tensor) -> None:
    if value.ndim not in (4, 5):
        raise ValueError(
            f"Expected `{name}` to be (B, C, H, W) or (B, C, H, W, D), but got shape {tuple(value.shape)}."
        )


def _instances(source: Labels, shape: torch.Size, counts: torch.Tensor) -> Instances:
    block = torch.repeat_interleave(torch.arange(counts.numel(), device=counts.device), counts)
    return Instances(source, shape, block)
