"""Input and target of one step as losses see them: rows of voxels, what is foreground, and sums over whole rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from monai_instance_loss.instances import Instances, segment_sum
from monai_instance_loss.instances.labelling import instances_at, label_mask, resolve_connectivity
from monai_instance_loss.instances.voxels import count_voxels, positions
from monai_instance_loss.losses.engine.reading import read
from monai_instance_loss.losses.engine.voxels import LogitVoxels, Map, Voxels

__all__ = ["Batch"]

# the maps that a volume of logits is read for in one pass
_READ = {"p", "ce_off"}


class Batch:
    """Input and target of one step, checked; a block is a sample's channel, R = B * C of them.

    Whatever is computed of it is computed where a loss first asks for it, and once.

    Attributes:
        shape: (B, C, *spatial), the background channel left out where the options say so.
        voxels: probabilities (R, *spatial), 0 on ignored voxels: whatever stands there, its gradient is 0 too.
        target: bool (R, *spatial), False on ignored voxels.
        ignored: bool (R, *spatial), True on voxels to leave out, or None where there is none.
        threshold: the probability from which on a voxel is predicted foreground; None where nobody asks.
    """

    def __init__(
        self,
        shape: torch.Size,
        voxels: Voxels,
        target: torch.Tensor,
        ignored: torch.Tensor | None = None,
        target_position: torch.Tensor | None = None,
        target_ids: torch.Tensor | None = None,
        threshold: float | None = None,
    ) -> None:
        """Take what ``InputOptions.prepare`` has read.

        ``target_position`` int64 (T,) are the target's voxels where they are known, and ``target_ids`` (T,) their ids
        where the target came as an instance map.
        """
        self.shape = shape
        self.target = target
        self.ignored = ignored
        self.threshold = threshold
        self.voxels = voxels if ignored is None else voxels.zeroed(ignored)
        # a volume of logits is read in one pass; a GPU passes over a map in no time, and would be waited for
        self._logits = self.voxels if isinstance(self.voxels, LogitVoxels) and target.device.type == "cpu" else None
        self._target_position = target_position
        self._target_ids = target_ids
        self._picked: LogitVoxels | None = None
        self._off_sums: dict[Map, torch.Tensor] = {}

    @property
    def blocks(self) -> int:
        """R."""
        return self.target.shape[0]

    @property
    def kept(self) -> torch.Tensor:
        """Bool (R, *spatial), False on ignored voxels."""
        return torch.ones_like(self.target) if self.ignored is None else ~self.ignored

    @property
    def target_position(self) -> torch.Tensor:
        """int64 (T,): flat positions of the target's voxels, ascending."""
        if self._target_position is None:
            self._target_position = positions(self.target)
        return self._target_position

    @cached_property
    def target_voxels(self) -> torch.Tensor:
        """int64 (R,): voxels of the target."""
        if not self._is_on_cpu:
            return self.target.flatten(1).sum(1)
        edges = torch.arange(self.blocks + 1) * self.target[0].numel()
        return torch.diff(torch.searchsorted(self.target_position, edges))

    @cached_property
    def voxels_per_block(self) -> torch.Tensor:
        """int64 (R,): voxels that are not ignored."""
        if self.ignored is None:
            return torch.full((self.blocks,), self.target[0].numel(), device=self.target.device)
        return self.target[0].numel() - count_voxels(self.ignored)

    @cached_property
    def predicted(self) -> torch.Tensor:
        """Bool (R, *spatial): where there is predicted foreground, ignored voxels left out."""
        if self.threshold is None:
            return torch.zeros_like(self.target)
        return self.voxels.at_least(self.threshold)

    @cached_property
    def position(self) -> torch.Tensor:
        """int64 (V,): flat positions of the foreground, of the target and of predictions, ascending."""
        if self.threshold is None:
            return self.target_position
        return positions(self.predicted | self.target)

    @cached_property
    def is_target(self) -> torch.Tensor:
        """Bool (V,): which of the foreground is the target's."""
        return self.target.reshape(-1).index_select(0, self.position)

    @cached_property
    def is_predicted(self) -> torch.Tensor:
        """Bool (V,): which of the foreground is predicted."""
        return self.predicted.reshape(-1).index_select(0, self.position)

    @cached_property
    def foreground(self) -> Voxels:
        """Probabilities (V,) of the foreground."""
        if self._logits is None:
            return self.voxels.at(self.position)
        return self._read(self._logits, ()) if self._picked is None else self._picked

    @cached_property
    def on_target(self) -> Voxels:
        """Probabilities (T,) of the target's voxels, in the order of ``target_position``."""
        return self.foreground if self.threshold is None else self.foreground.at(self._target_index)

    def label_target(self, connectivity: int | None) -> Instances:
        """The instances of the target: found, or read off the map that it is."""
        if self._target_ids is not None:
            return instances_at(self.target_position, self._target_ids, self.shape)
        connectivity = resolve_connectivity(connectivity, len(self.shape) - 2)
        return label_mask(self.target.view(self.shape), connectivity, self._target_position)

    def label_predicted(self, connectivity: int | None) -> Instances:
        """The instances of the predicted foreground."""
        connectivity = resolve_connectivity(connectivity, len(self.shape) - 2)
        return label_mask(self.predicted.view(self.shape), connectivity, self.position, self.is_predicted)

    @property
    def has_ids(self) -> bool:
        """Whether the target came as an instance map."""
        return self._target_ids is not None

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Means (R,) of a map over the voxels that are not ignored; 0 where all are."""
        total = values if self.ignored is None else values.masked_fill(self.ignored, 0)
        return total.flatten(1).sum(1) / self.voxels_per_block.clamp(min=1)

    def sums(self, on: Sequence[Map], off: Sequence[Map]) -> tuple[dict[Map, torch.Tensor], dict[Map, torch.Tensor]]:
        """Sums (R,) of maps over the target's voxels, and of others off it."""
        # what is summed over a volume is read before single voxels are, in one go
        off_sums = self.off_sums(off)
        if self._is_on_cpu:
            owner = torch.repeat_interleave(torch.arange(self.blocks), self.target_voxels)
            return {name: segment_sum(self.on_target.map(name), owner, self.blocks) for name in on}, off_sums
        on_target = {name: torch.where(self.target, self.voxels.map(name), 0).flatten(1).sum(1) for name in on}
        return on_target, off_sums

    def off_sums(self, names: Sequence[Map], blocks: torch.Tensor | None = None) -> dict[Map, torch.Tensor]:
        """Sums off the target, of all blocks (R,) or of those at an index (n,), of maps that are 0 at p = 0."""
        # summed without the target rather than by difference, in which a saturated logit would swamp the rest
        if self._logits is None and blocks is not None:
            return {name: self._off_sum(name, blocks) for name in names}
        missing = [name for name in dict.fromkeys(names) if name not in self._off_sums]
        if self._logits is not None and missing and _READ.issuperset(missing):
            self._read(self._logits, tuple(map(str, missing)))
        else:
            self._off_sums.update({name: self._off_sum(name) for name in missing})
        return {name: self._off_sums[name] if blocks is None else self._off_sums[name][blocks] for name in names}

    def _off_sum(self, name: Map, blocks: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        return torch.where(self.target[blocks], 0, self.voxels.map(name)[blocks]).flatten(1).sum(1)

    def with_threshold(self, threshold: float) -> Batch:
        """The same batch with predicted foreground of another threshold."""
        return Batch(
            self.shape, self.voxels, self.target, self.ignored, self._target_position, self._target_ids, threshold
        )

    def zero(self) -> torch.Tensor:
        """A zero that carries the graph, whatever the values hold."""
        return self.voxels.p.flatten()[:0].sum()

    @property
    def _is_on_cpu(self) -> bool:
        return self.target.device.type == "cpu"

    def _read(self, logits: LogitVoxels, names: tuple[str, ...]) -> LogitVoxels:
        """Sum maps off the target by name, and pick the foreground the first time."""
        picked, sums = read(logits.logit, self.position, self.target_position, names)
        self._off_sums.update(sums)
        if self._picked is None:
            self._picked = LogitVoxels(picked)
        return self._picked

    @cached_property
    def _target_index(self) -> torch.Tensor:
        """int64 (T,): index of the target's voxels in the foreground."""
        return positions(self.is_target)
