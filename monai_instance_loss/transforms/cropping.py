"""Random crops centred on lesions, each as likely as the next, however small."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor, get_track_meta
from monai.transforms import LazyTransform, MultiSampleTrait, Randomizable, SpatialCrop
from monai.transforms.inverse import TraceableTransform
from monai.transforms.utils import check_non_lazy_pending_ops, correct_crop_centers
from monai.utils import ImageMetaKey, fall_back_tuple

from monai_instance_loss._checks import check_channel_first, checked_count, checked_number
from monai_instance_loss.transforms.inputs import check_reading, plain_tensor
from monai_instance_loss.transforms.reading import instances_of, read_values
from monai_instance_loss.transforms.voxels import InstanceVoxels

__all__ = ["RandCropByInstance"]


class RandCropByInstance(Randomizable, TraceableTransform, LazyTransform, MultiSampleTrait):
    """Crop random windows centred on an instance, every instance being equally likely, or on background.

    Source: ours, after MONAI's ``RandCropByPosNegLabel``, whose foreground crops go to an instance in proportion to
    its voxels: a lesion of 1000 voxels gets a thousand times the crops of a lesion of one. Here both get as many. The
    centre is a random voxel of the instance, each equally likely, so that crops of a large lesion differ and always
    show some of it. Differentiable: nothing.

    Convention: as in ``RandCropByPosNegLabel``. Of a label with several channels the first is background and is left
    out; an instance of any other channel counts once. The centre moves inwards where a window would leave the image;
    nothing is padded. An axis with a window size of 0 or less is not cropped. A label without instances gives
    background crops, one without background gives instance crops. A label of other values than 0 and 1 is refused:
    ``LabelInstancesd(ignore_label=...)`` makes an instance map of it, MONAI's ``LabelToMaskd`` a mask. Not invertible;
    lazy; the metadata get ``patch_index`` and ``crop_center``.

    Args:
        spatial_size: size of the window in voxels, one number or one a spatial axis.
        pos: with ``neg`` the probability pos / (pos + neg) that a crop is centred on an instance.
        neg: see ``pos``.
        num_samples: how many crops one call gives, 1 or more.
        image_threshold: where an image is given, background crops are centred where it is above this in some channel.
        allow_smaller: whether an image that is smaller than the window is kept as it is along that axis; an error
            otherwise.
        connectivity: as in ``LabelInstances``.
        is_instances: the label is an instance map rather than a mask. Its voxels below 0 (ignored) are neither instance
            nor background. After ``LabelInstancesd`` in a cached dataset it saves labelling the mask for each crop.
        lazy: whether the crops stay pending operations of the MetaTensor.

    Raises:
        TypeError: an option is of another type.
        ValueError: it is out of range, ``pos`` and ``neg`` are both 0, or ``connectivity`` is given for an instance
            map.

    Example:
        >>> import numpy as np
        >>> label = np.array([[[1, 1, 1, 0, 0, 0, 0, 0, 0, 1]]])
        >>> crop = RandCropByInstance((1, 3), pos=1, neg=0, num_samples=4).set_random_state(0)
        >>> [window.tolist() for window in crop(label, label)]
        [[[[0, 0, 1]]], [[[0, 0, 1]]], [[[0, 0, 1]]], [[[1, 1, 1]]]]
    """

    backend = SpatialCrop.backend

    def __init__(
        self,
        spatial_size: Sequence[int] | int,
        pos: float = 1.0,
        neg: float = 1.0,
        num_samples: int = 1,
        image_threshold: float = 0.0,
        allow_smaller: bool = False,
        connectivity: int | None = None,
        is_instances: bool = False,
        lazy: bool = False,
    ) -> None:
        LazyTransform.__init__(self, lazy)
        check_reading(connectivity, is_instances)
        pos, neg = checked_number("pos", pos), checked_number("neg", neg)
        if pos + neg == 0:
            raise ValueError("Expected `pos` or `neg` to be above 0, but got 0 and 0.")
        self.spatial_size = spatial_size
        self.instance_ratio = pos / (pos + neg)
        self.num_samples = checked_count("num_samples", num_samples, 1)
        self.image_threshold = image_threshold
        self.allow_smaller = allow_smaller
        self.connectivity = connectivity
        self.is_instances = is_instances
        self.centers: tuple[tuple[int, ...], ...] | None = None
        self.spatial_shape: tuple[int, ...] | None = None

    def randomize(self, label: NdarrayOrTensor, image: NdarrayOrTensor | None = None) -> None:
        """Draw the centres of the next crops.

        Args:
            label: (C, H, W) or (C, H, W, D), the mask of values 0 and 1, or the instance map where ``is_instances``.
            image: (K, *spatial), which limits background centres; see ``image_threshold``.

        Raises:
            TypeError, ValueError: as in ``LabelInstances``; there is no voxel to centre a crop on, or a window is
                larger than the label and ``allow_smaller`` is False.
        """
        check_non_lazy_pending_ops(label, name="RandCropByInstance", raise_error=True)
        classes = read_values(label, self.is_instances, "label")
        classes = classes[1:] if len(classes) > 1 else classes
        shape = tuple(classes.shape[1:])
        voxels = InstanceVoxels.of(instances_of(classes, self.connectivity, self.is_instances))
        place = (voxels.position % max(math.prod(shape), 1)).cpu().numpy()
        owner = voxels.owner.cpu().numpy()
        ratio, free = self.instance_ratio if voxels.count else 0.0, np.zeros(0, dtype=np.int64)
        if ratio < 1:
            free = np.flatnonzero(self._background(classes, image).cpu().numpy())
            ratio = ratio if free.size else 1.0
        if voxels.count == 0 and free.size == 0:
            raise ValueError("Expected `label` to have an instance or a background voxel to crop at, but got neither.")
        centers = []
        for _ in range(self.num_samples):
            candidates = place[owner == self.R.randint(voxels.count)] if self.R.rand() < ratio else free
            center = np.unravel_index(candidates[self.R.randint(candidates.size)], shape)
            centers.append(correct_crop_centers([int(c) for c in center], self.spatial_size, shape, self.allow_smaller))
        self.centers, self.spatial_shape = tuple(centers), shape

    @LazyTransform.lazy.setter
    def lazy(self, value: bool) -> None:
        """Whether the crops stay pending."""
        self._lazy = value

    @property
    def requires_current_data(self) -> bool:
        """Whether pending operations of the cropped image must be applied first: no, only those of the label."""
        return False

    def __call__(
        self,
        img: NdarrayOrTensor,
        label: NdarrayOrTensor | None = None,
        image: NdarrayOrTensor | None = None,
        randomize: bool = True,
        lazy: bool | None = None,
    ) -> list[torch.Tensor]:
        """Crop one image.

        Args:
            img: what to crop, channel-first, with the spatial shape of the label.
            label: where the instances are; needed where ``randomize``.
            image: limits the background crops; see ``image_threshold``.
            randomize: whether to draw new centres; False crops another image at those of the call before.
            lazy: overrides ``lazy`` for this call.

        Returns:
            ``num_samples`` crops, MetaTensors where MONAI tracks metadata.

        Raises:
            TypeError, ValueError: as in ``randomize``; the spatial shape of ``img`` is not that of the label, or
                nothing was drawn yet.
        """
        if randomize:
            self.randomize(label, image)
        if self.centers is None:
            raise ValueError("Expected `randomize` to be True in the first call, but got False.")
        shape = tuple(img.peek_pending_shape() if isinstance(img, MetaTensor) else img.shape[1:])
        if shape != self.spatial_shape:
            raise ValueError(f"Expected `img` to have the spatial shape {self.spatial_shape}, but got {shape}.")
        size = fall_back_tuple(self.spatial_size, default=shape)
        lazy = self.lazy if lazy is None else lazy
        crops = []
        for index, center in enumerate(self.centers):
            crop = SpatialCrop(roi_center=center, roi_size=size, lazy=lazy)(img)
            if get_track_meta():
                crop.meta[ImageMetaKey.PATCH_INDEX] = index
                crop.meta["crop_center"] = center
                self.push_transform(crop, replace=True, lazy=lazy)
            crops.append(crop)
        return crops

    def _background(self, classes: torch.Tensor, image: NdarrayOrTensor | None) -> torch.Tensor:
        """Bool, flat over the spatial axes: where a background crop may have its centre."""
        background = (classes == 0).all(0)
        if image is not None:
            check_channel_first("image", image)
            check_non_lazy_pending_ops(image, name="RandCropByInstance", raise_error=True)
            if image.shape[1:] != classes.shape[1:]:
                raise ValueError(
                    f"Expected `image` to have the spatial shape {tuple(classes.shape[1:])}, but got "
                    f"{tuple(image.shape[1:])}."
                )
            background &= (plain_tensor(image).to(classes.device) > self.image_threshold).any(0)
        return background.reshape(-1)
