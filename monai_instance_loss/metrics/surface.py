"""Distances between the surfaces of two masks in mm, every piece of surface weighed by its area."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from monai.metrics.utils import ENCODING_KERNEL, _get_neighbour_code_to_normals_table, get_code_to_measure_table
from numpy.typing import NDArray

from monai_instance_loss._checks import checked_number
from monai_instance_loss._optional import import_extra
from monai_instance_loss.instances import Instances
from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.metrics.overlaps import OverlapTable

__all__ = [
    "SurfaceDistances",
    "average_surface_distance",
    "hausdorff_distance",
    "instance_surface_distances",
    "surface_dice",
    "surface_distances",
]

distance_transform_edt = import_extra("scipy.ndimage", "distance_transform_edt")
find_objects = import_extra("scipy.ndimage", "find_objects")

Floats = NDArray[np.float64]


class SurfaceDistances(NamedTuple):
    """How far each piece of one surface is from the other surface, and how large the piece is, both ways.

    Source: as ``surface_distances``. Distances are in mm and ascend, areas are in mm2 (for 2D images, lengths in mm).
    The distances to a mask without voxels are infinite.

    Attributes:
        pred_to_true: float64 (P,), of the pieces of the prediction.
        pred_areas: float64 (P,), their areas.
        true_to_pred: float64 (T,), of the pieces of the ground truth.
        true_areas: float64 (T,), their areas.
    """

    pred_to_true: Floats
    pred_areas: Floats
    true_to_pred: Floats
    true_areas: Floats


def surface_distances(y_pred: Any, y: Any, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks, in mm, 0 or more, or infinite.

    Source: Nikolov et al., arXiv 1809.04430, and the rules of their package ``surface-distance``: the surface runs
    between voxel centres (marching cubes), a piece of it lies at each corner of voxels, and distances are those of such
    corners. Its areas are MONAI's table of normals, in double precision, as percentiles of MONAI's single precision
    pick other pieces. Only the box of both masks is looked at, which changes nothing. Differentiable: nothing.

    Args:
        y_pred: bool (H, W) or (H, W, D), array or tensor.
        y: the ground truth of the same shape.
        spacing_mm: size of a voxel along each axis in mm.

    Returns:
        The distances both ways.

    Raises:
        TypeError: ``spacing_mm`` is no sequence.
        ValueError: the shapes differ or are not 2D or 3D, or ``spacing_mm`` is not one positive number an axis.
        OptionalImportError: scipy is not installed.

    Example:
        >>> y_pred, y = np.zeros((1, 1, 9), bool), np.zeros((1, 1, 9), bool)
        >>> y_pred[..., 2], y[..., 5] = True, True
        >>> surface_distances(y_pred, y, (1.0, 1.0, 2.0)).true_to_pred.tolist()
        [4.0, 4.0, 4.0, 4.0, 6.0, 6.0, 6.0, 6.0]
    """
    pred, true = np.asarray(y_pred, bool), np.asarray(y, bool)
    if pred.shape != true.shape or pred.ndim not in (2, 3):
        raise ValueError(f"Expected `y` to be 2D or 3D and as `y_pred`, {pred.shape}, but got {true.shape}.")
    spacing = checked_spacing(spacing_mm, pred.ndim)
    if spacing is None:
        raise TypeError("Expected `spacing_mm` to be a sequence, but got None.")
    box = find_objects((pred | true).astype(np.uint8))
    if not box:
        return SurfaceDistances(*[np.zeros(0)] * 4)
    codes = [_corner_codes(mask[box[0]]) for mask in (pred, true)]
    areas = _areas(spacing)
    on_surface = [(code != 0) & (code != len(areas) - 1) for code in codes]
    far = [
        distance_transform_edt(~surface, sampling=spacing) if surface.any() else np.full(surface.shape, np.inf)
        for surface in on_surface
    ]
    result: list[Floats] = []
    for code, surface, distance in zip(codes, on_surface, reversed(far), strict=True):
        area, distance = areas[code[surface]], distance[surface]
        order = np.lexsort((area, distance))
        result += [distance[order], area[order]]
    return SurfaceDistances(*result)


def hausdorff_distance(distances: SurfaceDistances, percentile: float = 95.0) -> float:
    """The larger of the two directed percentiles of surface distances, in mm, 0 or more.

    Source: Nikolov et al., arXiv 1809.04430 (robust Hausdorff distance), which the BraTS challenges use: the
    percentile is that of the surface's area. Infinite where one mask is empty, NaN where both are. Differentiable:
    nothing.

    Args:
        distances: of the two masks.
        percentile: in [0, 100]; 100 is the Hausdorff distance.

    Raises:
        TypeError: ``percentile`` is no number.
        ValueError: it is out of range.

    Example:
        >>> from monai_instance_loss.metrics.surface import surface_distances
        >>> y_pred, y = np.zeros((6, 6), bool), np.zeros((6, 6), bool)
        >>> y_pred[1:3, 1:3], y[1:3, 1:5] = True, True
        >>> hausdorff_distance(surface_distances(y_pred, y, (1.0, 1.5)))
        3.0
    """
    share = checked_number("percentile", percentile, 0, 100) / 100
    directed = []
    for distance, area in (distances[:2], distances[2:]):
        if not distance.size:
            # the other mask's distances are infinite already
            continue
        place = int(np.searchsorted(np.cumsum(area) / np.sum(area), share))
        directed.append(float(distance[min(place, distance.size - 1)]))
    return max(directed) if directed else np.nan


def average_surface_distance(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance, in mm, 0 or more: the mean over both surfaces, weighed by area.

    Source: Heimann et al. 2009, doi:10.1109/TMI.2009.2013851, with the surfaces of ``surface_distances``. Infinite
    where one mask is empty, NaN where both are. Differentiable: nothing.

    Example:
        >>> y_pred, y = np.zeros((1, 1, 9), bool), np.zeros((1, 1, 9), bool)
        >>> y_pred[..., 2], y[..., 5] = True, True
        >>> average_surface_distance(surface_distances(y_pred, y, (1.0, 1.0, 2.0)))
        5.0
    """
    area = float(distances.pred_areas.sum() + distances.true_areas.sum())
    both = ((distances.pred_to_true, distances.pred_areas), (distances.true_to_pred, distances.true_areas))
    return float(sum((distance * piece).sum() for distance, piece in both) / area) if area else np.nan


def surface_dice(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Part of both surfaces that is within a tolerance of the other, in [0, 1], 1 being best.

    Source: Nikolov et al., arXiv 1809.04430, also known as normalised surface distance, NSD. NaN where both masks are
    empty. Differentiable: nothing.

    Args:
        distances: of the two masks.
        tolerance_mm: the largest distance that counts as none, in mm.

    Raises:
        TypeError: ``tolerance_mm`` is no number.
        ValueError: it is negative.

    Example:
        >>> y_pred, y = np.zeros((1, 1, 9), bool), np.zeros((1, 1, 9), bool)
        >>> y_pred[..., 2], y[..., 5] = True, True
        >>> surface_dice(surface_distances(y_pred, y, (1.0, 1.0, 2.0)), 5.0)
        0.5
    """
    tolerance = checked_number("tolerance_mm", tolerance_mm)
    area = float(distances.pred_areas.sum() + distances.true_areas.sum())
    near = distances.pred_areas[distances.pred_to_true <= tolerance].sum()
    near += distances.true_areas[distances.true_to_pred <= tolerance].sum()
    return float(near) / area if area else np.nan


def instance_surface_distances(
    true: Instances, pred: Instances, pairs: OverlapTable, spacing_mm: Sequence[float]
) -> Iterator[SurfaceDistances]:
    """Measure each true instance of one image against the union of the predicted ones that it is in a pair with.

    Source: as ``surface_distances``, on the box of each. Differentiable: nothing.

    Args:
        true: true instances of one sample and channel.
        pred: its predicted instances.
        pairs: which of them belong together.
        spacing_mm: size of a voxel along each axis in mm.

    Returns:
        One item a true instance, in order of their ids; infinite distances where it is in no pair.

    Raises:
        ValueError: there is more than one sample or channel.
        OptionalImportError: scipy is not installed.

    Example:
        >>> import torch
        >>> from monai_instance_loss.instances import label_instances
        >>> from monai_instance_loss.metrics import match_instances
        >>> true, pred = (label_instances(torch.tensor([[[row]]])) for row in ([1, 1, 0, 0], [0, 1, 1, 1]))
        >>> found = instance_surface_distances(true, pred, match_instances(true, pred), (1.0, 1.0))
        >>> [hausdorff_distance(distances) for distances in found]
        [2.0]
    """
    if true.shape[0] * true.shape[1] != 1:
        raise ValueError(f"Expected `true` to be of one sample and channel, but got shape {tuple(true.shape)}.")
    labels, pred_labels = true.labels[0, 0].numpy(), pred.labels[0, 0].numpy()
    boxes, pred_boxes = find_objects(labels), find_objects(pred_labels)
    own = pairs.true_id.numpy()
    for index, box in enumerate(boxes, 1):
        partners = pairs.pred_id.numpy()[own == index]
        around = _union([box, *(pred_boxes[partner - 1] for partner in partners)])
        yield surface_distances(np.isin(pred_labels[around], partners), labels[around] == index, spacing_mm)


def _union(boxes: list[tuple[slice, ...]]) -> tuple[slice, ...]:
    sides = zip(*boxes, strict=True)
    return tuple(slice(min(side.start for side in axis), max(side.stop for side in axis)) for axis in sides)


def _corner_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which of the voxels around each corner are inside, a bit each; one corner more than voxels along an axis."""
    padded = np.pad(mask, 1).astype(np.uint8)
    bits = np.array(ENCODING_KERNEL[mask.ndim], np.uint8)
    code = np.zeros([extent + 1 for extent in mask.shape], np.uint8)
    for offset in product((0, 1), repeat=mask.ndim):
        window = tuple(slice(start, start + extent) for start, extent in zip(offset, code.shape, strict=True))
        code += bits[offset] * padded[window]
    return code


@lru_cache
def _areas(spacing: tuple[float, ...]) -> Floats:
    """The area in mm2, or length in mm, of the surface at a corner, by its code."""
    if len(spacing) == 2:
        return np.asarray(get_code_to_measure_table(spacing)[0], np.float64)
    x, y, z = spacing
    normals = _get_neighbour_code_to_normals_table().double().numpy() * (y * z, x * z, x * y)
    # one by one, as a sum over an axis may round in another order
    return np.array([sum(float(np.linalg.norm(normal)) for normal in code) for code in normals])
