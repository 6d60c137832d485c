"""Random crops centred on lesions, by key."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import LazyTransform, MapTransform, MultiSampleTrait, Randomizable

from monai_instance_loss.transforms.cropping import RandCropByInstance

__all__ = ["RandCropByInstanceD", "RandCropByInstanceDict", "RandCropByInstanced"]


class RandCropByInstanced(Randomizable, MapTransform, LazyTransform, MultiSampleTrait):
    """Dictionary-based version of :py:class:`monai_instance_loss.transforms.RandCropByInstance`, which explains it.

    All keys are cropped alike; what is under other keys is copied into each crop's dictionary.

    Args:
        keys: what to crop; of one spatial shape.
        label_key: the mask or instance map.
        image_key: the image that limits background crops; None lets them be anywhere.
        allow_missing_keys: whether a key may be missing.
    """

    backend = RandCropByInstance.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: Hashable,
        spatial_size: Sequence[int] | int,
        pos: float = 1.0,
        neg: float = 1.0,
        num_samples: int = 1,
        image_key: Hashable | None = None,
        image_threshold: float = 0.0,
        allow_smaller: bool = False,
        connectivity: int | None = None,
        is_instances: bool = False,
        allow_missing_keys: bool = False,
        lazy: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        LazyTransform.__init__(self, lazy)
        self.label_key = label_key
        self.image_key = image_key
        self.cropper = RandCropByInstance(
            spatial_size=spatial_size,
            pos=pos,
            neg=neg,
            num_samples=num_samples,
            image_threshold=image_threshold,
            allow_smaller=allow_smaller,
            connectivity=connectivity,
            is_instances=is_instances,
            lazy=lazy,
        )

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Self:
        """Seed the draws of this transform."""
        super().set_random_state(seed, state)
        self.cropper.set_random_state(seed, state)
        return self

    def randomize(self, label: NdarrayOrTensor, image: NdarrayOrTensor | None = None) -> None:
        """Draw the centres of the next crops."""
        self.cropper.randomize(label, image)

    @LazyTransform.lazy.setter
    def lazy(self, value: bool) -> None:
        """Whether the crops stay pending."""
        self._lazy = value
        self.cropper.lazy = value

    @property
    def requires_current_data(self) -> bool:
        """Whether pending operations must be applied first: yes, the label is read."""
        return True

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> list[dict[Hashable, Any]]:
        """Crop the images under ``keys``; one dictionary a crop. The mapping itself is left as it is."""
        self.randomize(data[self.label_key], None if self.image_key is None else data[self.image_key])
        crops: list[dict[Hashable, Any]] = [
            {key: value if key in self.keys else deepcopy(value) for key, value in data.items()}
            for _ in range(self.cropper.num_samples)
        ]
        for key in self.key_iterator(dict(data)):
            images = self.cropper(data[key], randomize=False, lazy=self.lazy if lazy is None else lazy)
            for crop, image in zip(crops, images, strict=True):
                crop[key] = image
        return crops


RandCropByInstanceD = RandCropByInstanceDict = RandCropByInstanced
