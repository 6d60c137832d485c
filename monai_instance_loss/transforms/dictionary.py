"""Dictionary transforms: the array transforms, by key."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal

from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep

from monai_instance_loss.transforms.centers import InstanceCenters
from monai_instance_loss.transforms.checking import CheckFinite, CheckMask
from monai_instance_loss.transforms.filtering import FilterInstances
from monai_instance_loss.transforms.labelling import LabelInstances
from monai_instance_loss.transforms.measuring import MeasureInstances
from monai_instance_loss.transforms.weights import InstanceWeightMap

__all__ = [
    "CheckFiniteD",
    "CheckFiniteDict",
    "CheckFinited",
    "CheckMaskD",
    "CheckMaskDict",
    "CheckMaskd",
    "FilterInstancesD",
    "FilterInstancesDict",
    "FilterInstancesd",
    "InstanceCentersD",
    "InstanceCentersDict",
    "InstanceCentersd",
    "InstanceWeightMapD",
    "InstanceWeightMapDict",
    "InstanceWeightMapd",
    "LabelInstancesD",
    "LabelInstancesDict",
    "LabelInstancesd",
    "MeasureInstancesD",
    "MeasureInstancesDict",
    "MeasureInstancesd",
]


class Mapped(MapTransform):
    """An array transform on the value under each key, the result under another one where that is asked for."""

    def __init__(
        self,
        keys: KeysCollection,
        transform: Callable[..., Any],
        output_keys: KeysCollection | None,
        allow_missing_keys: bool,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform
        self.output_keys = self.keys if output_keys is None else ensure_tuple_rep(output_keys, len(self.keys))
        if len(set(self.output_keys)) < len(self.keys):
            raise ValueError(f"Expected `output_keys` to be one key for each of {self.keys}, but got {output_keys!r}.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform the masks under ``keys``; the mapping itself is left as it is."""
        result = dict(data)
        for key, output_key in self.key_iterator(result, self.output_keys):
            result[output_key] = self._transformed(key, data)
        return result

    def _transformed(self, key: Hashable, data: Mapping[Hashable, Any]) -> Any:
        return self.transform(data[key])


class CheckFinited(Mapped):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.CheckFinite`, which explains it."""

    backend = CheckFinite.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, CheckFinite(), None, allow_missing_keys)


class CheckMaskd(Mapped):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.CheckMask`, which explains it."""

    backend = CheckMask.backend

    def __init__(self, keys: KeysCollection, ignore_label: int | None = None, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, CheckMask(ignore_label), None, allow_missing_keys)


class LabelInstancesd(Mapped):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.LabelInstances`, which explains it."""

    backend = LabelInstances.backend

    def __init__(
        self,
        keys: KeysCollection,
        connectivity: int | None = None,
        ignore_label: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, LabelInstances(connectivity, ignore_label), None, allow_missing_keys)


class FilterInstancesd(Mapped):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.FilterInstances`, which explains it."""

    backend = FilterInstances.backend

    def __init__(
        self,
        keys: KeysCollection,
        min_voxels: int | None = None,
        max_voxels: int | None = None,
        min_volume_mm3: float | None = None,
        max_volume_mm3: float | None = None,
        remove_border: bool = False,
        keep_largest: int | None = None,
        spacing_mm: Sequence[float] | None = None,
        connectivity: int | None = None,
        is_instances: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        transform = FilterInstances(
            min_voxels=min_voxels,
            max_voxels=max_voxels,
            min_volume_mm3=min_volume_mm3,
            max_volume_mm3=max_volume_mm3,
            remove_border=remove_border,
            keep_largest=keep_largest,
            spacing_mm=spacing_mm,
            connectivity=connectivity,
            is_instances=is_instances,
        )
        super().__init__(keys, transform, None, allow_missing_keys)


class InstanceCentersd(Mapped):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.InstanceCenters`, which explains it.

    Args:
        keys: the masks.
        output_keys: where the maps go, one key a mask; None puts each in place of its mask.
        allow_missing_keys: whether a mask may be missing.
    """

    backend = InstanceCenters.backend

    def __init__(
        self,
        keys: KeysCollection,
        mode: Literal["box", "gaussian"] = "box",
        radius: int | None = None,
        sigma_voxels: float | None = None,
        sigma_mm: float | None = None,
        spacing_mm: Sequence[float] | None = None,
        connectivity: int | None = None,
        is_instances: bool = False,
        output_keys: KeysCollection | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        transform = InstanceCenters(
            mode=mode,
            radius=radius,
            sigma_voxels=sigma_voxels,
            sigma_mm=sigma_mm,
            spacing_mm=spacing_mm,
            connectivity=connectivity,
            is_instances=is_instances,
        )
        super().__init__(keys, transform, output_keys, allow_missing_keys)


class InstanceWeightMapd(Mapped):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.InstanceWeightMap`, which explains it.

    Args:
        keys: the masks.
        output_keys: where the weights go, one key a mask; None puts each in place of its mask.
        allow_missing_keys: whether a mask may be missing.
    """

    backend = InstanceWeightMap.backend

    def __init__(
        self,
        keys: KeysCollection,
        background_weight: float | None = 1.0,
        connectivity: int | None = None,
        is_instances: bool = False,
        mode: Literal["inverse", "border"] = "inverse",
        w0: float | None = None,
        sigma_mm: float | None = None,
        spacing_mm: Sequence[float] | None = None,
        output_keys: KeysCollection | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        transform = InstanceWeightMap(
            background_weight=background_weight,
            connectivity=connectivity,
            is_instances=is_instances,
            mode=mode,
            w0=w0,
            sigma_mm=sigma_mm,
            spacing_mm=spacing_mm,
        )
        super().__init__(keys, transform, output_keys, allow_missing_keys)


class MeasureInstancesd(Mapped):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.MeasureInstances`, which explains it.

    Args:
        keys: the masks.
        output_keys: where the tables go, one key a mask.
        image_key: the image that gives the intensities; None leaves them out.
        allow_missing_keys: whether a mask may be missing.
    """

    backend = MeasureInstances.backend

    def __init__(
        self,
        keys: KeysCollection,
        output_keys: KeysCollection,
        image_key: Hashable | None = None,
        connectivity: int | None = None,
        is_instances: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, MeasureInstances(connectivity, is_instances), output_keys, allow_missing_keys)
        self.image_key = image_key

    def _transformed(self, key: Hashable, data: Mapping[Hashable, Any]) -> Any:
        return self.transform(data[key], None if self.image_key is None else data[self.image_key])


CheckFiniteD = CheckFiniteDict = CheckFinited
CheckMaskD = CheckMaskDict = CheckMaskd
LabelInstancesD = LabelInstancesDict = LabelInstancesd
FilterInstancesD = FilterInstancesDict = FilterInstancesd
InstanceCentersD = InstanceCentersDict = InstanceCentersd
InstanceWeightMapD = InstanceWeightMapDict = InstanceWeightMapd
MeasureInstancesD = MeasureInstancesDict = MeasureInstancesd
