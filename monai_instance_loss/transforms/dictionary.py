"""Dictionary transforms: the array transforms, by key."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform

from monai_instance_loss.transforms.array import LabelInstances

__all__ = ["LabelInstancesD", "LabelInstancesDict", "LabelInstancesd"]


class LabelInstancesd(MapTransform):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.LabelInstances`, which explains it."""

    backend = LabelInstances.backend

    def __init__(
        self,
        keys: KeysCollection,
        connectivity: int | None = None,
        ignore_label: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_instances = LabelInstances(connectivity, ignore_label)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Label the masks under ``keys``; the mapping itself is left as it is."""
        labelled = dict(data)
        for key in self.key_iterator(labelled):
            labelled[key] = self.label_instances(labelled[key])
        return labelled


LabelInstancesD = LabelInstancesDict = LabelInstancesd
