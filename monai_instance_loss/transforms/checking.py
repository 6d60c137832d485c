"""Bad images and masks stopped where they are loaded, with the name of their file."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_instance_loss.transforms.inputs import plain_tensor
from monai_instance_loss.transforms.reading import named, read_mask

__all__ = ["CheckFinite", "CheckMask"]


class CheckFinite(Transform):
    """Pass an image on as it is, or raise an error that names its file where it holds NaN or infinity.

    Source: ours. One NaN in one image turns all weights of a network into NaN within a step. Put it after
    ``LoadImage``. MONAI's ``SignalFillEmpty`` replaces NaN where that is wanted. Differentiable: the identity.

    Example:
        >>> import numpy as np
        >>> CheckFinite()(np.array([[[0.5, np.nan]]]))
        Traceback (most recent call last):
        ValueError: Expected `img` to be finite, but got NaN or infinity in 1 of 2 voxels.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Check one image.

        Args:
            img: of any shape and dtype.

        Returns:
            The same object.

        Raises:
            TypeError: ``img`` is neither a tensor nor an array.
            ValueError: it holds NaN or infinity; a MetaTensor's file is named.
        """
        if not isinstance(img, (torch.Tensor, np.ndarray)):
            raise TypeError(f"Expected `img` to be a torch.Tensor or numpy.ndarray, but got {type(img).__name__}.")
        finite = torch.isfinite(plain_tensor(img))
        if not bool(finite.all()):
            count = int((~finite).sum())
            raise ValueError(
                f"Expected {named('img', img)} to be finite, but got NaN or infinity in {count} of {finite.numel()} "
                "voxels."
            )
        return img


class CheckMask(Transform):
    """Pass a mask on as it is, or raise an error that lists its labels where it holds others than 0, 1 and one ignored.

    Source: ours. It is the rule of ``LabelInstances`` and of the metrics, applied before hours of training.
    Differentiable: nothing.

    Args:
        ignore_label: the value of voxels that are left out of the loss and of the metrics.

    Example:
        >>> import numpy as np
        >>> CheckMask(ignore_label=2)(np.array([[[0, 1, 2, 3]]]))
        Traceback (most recent call last):
        ValueError: Expected `mask` to hold no labels but 0, 1 and the ignore_label 2, but got 0, 1, 2, 3.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, ignore_label: int | None = None) -> None:
        self.ignore_label = ignore_label

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        """Check one mask.

        Args:
            mask: (C, H, W) or (C, H, W, D), any dtype.

        Returns:
            The same object.

        Raises:
            TypeError, ValueError: as in ``LabelInstances``; a MetaTensor's file is named.
        """
        read_mask(mask, self.ignore_label)
        return mask
