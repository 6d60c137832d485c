"""The mean anatomy that synthetic cases are warped from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._optional import import_extra

__all__ = ["Atlas", "ScalarMap", "load_atlas"]

ndimage = import_extra("scipy.ndimage")

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_PAD_MM = 18
_LINING_MM = 3.5
_VENTRICLE_T1 = 0.45


@dataclass(frozen=True, eq=False)
class ScalarMap:
    """A scalar field on a regular grid in MNI space.

    Source: plain linear interpolation.

    Args:
        values: field, (X, Y, Z) float32.
        origin_mm: MNI position of voxel (0, 0, 0) in mm.
        step_mm: isotropic voxel size in mm.

    Example:
        >>> field = ScalarMap(np.arange(8, dtype=np.float32).reshape(2, 2, 2), np.zeros(3), 2.0)
        >>> float(field.sample(np.full((3, 1, 1, 1), 1.0, dtype=np.float32))[0, 0, 0])
        3.5
    """

    values: FloatArray
    origin_mm: NDArray[np.float64]
    step_mm: float

    def sample(self, points_mm: FloatArray) -> FloatArray:
        """Interpolate at MNI positions ``points_mm``, (3, X, Y, Z) in mm; the border value holds outside."""
        index = (points_mm - self.origin_mm.astype(np.float32)[:, None, None, None]) / np.float32(self.step_mm)
        return np.asarray(ndimage.map_coordinates(self.values, index, order=1, mode="nearest"), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Atlas:
    """Mean anatomy that every case is warped from.

    Source: ICBM 152 nonlinear 2009a template as shipped inside nilearn (Fonov et al. 2011).

    Args:
        gm: grey matter fraction, continued through the ventricles.
        wm: white matter fraction, continued through the ventricles.
        t1_detail: T1 signal that the tissue fractions leave unexplained, with white matter at 1.
        ventricle_mm: signed distance to the lateral ventricles in mm, negative inside.
        brain_mm: signed distance to the smooth surface around the brain in mm, negative inside.
        head_mm: as ``brain_mm``, but not narrowing below the widest slice.

    Example:
        >>> load_atlas().wm.step_mm
        1.0
    """

    gm: ScalarMap
    wm: ScalarMap
    t1_detail: ScalarMap
    ventricle_mm: ScalarMap
    brain_mm: ScalarMap
    head_mm: ScalarMap


@lru_cache(maxsize=4)
def load_atlas(slice_mm: int = 1) -> Atlas:
    """Load the template and derive the maps; kept for the rest of the process.

    Source: see `Atlas`. Nothing is downloaded.

    Args:
        slice_mm: slice thickness in whole mm over which tissue is averaged from foot to head.

    Raises:
        OptionalImportError: when nilearn is not installed.

    Example:
        >>> bool(load_atlas().ventricle_mm.values.min() < -3)
        True
    """
    if slice_mm > 1:
        thin = load_atlas()
        gm, wm, detail = (_thicken(field, slice_mm) for field in (thin.gm, thin.wm, thin.t1_detail))
        return Atlas(gm, wm, detail, thin.ventricle_mm, thin.brain_mm, thin.head_mm)
    t1, gm_values, wm_values, origin_mm = _load_template()
    ventricle_mm = _signed_distance(_find_lateral_ventricles(t1, origin_mm), 1.0)
    _, nearest = ndimage.distance_transform_edt(ventricle_mm < _LINING_MM, return_indices=True)
    # Partial volume between white matter and fluid passes for grey matter in the template's maps: the lining
    # takes over the tissue behind it, and the ventricles are cut out again from their distance map.
    gm_values, wm_values = gm_values[tuple(nearest)], wm_values[tuple(nearest)]
    expected = wm_values + 0.75 * gm_values + 0.31 * (1 - gm_values - wm_values)
    known = (t1 > 0) & (ventricle_mm >= _LINING_MM)
    detail_values = np.where(known, t1 / 0.87 - expected, 0).astype(np.float32)
    brain_mm, head_mm = _surfaces_mm(t1[::2, ::2, ::2] > 0)
    return Atlas(
        gm=ScalarMap(gm_values, origin_mm, 1.0),
        wm=ScalarMap(wm_values, origin_mm, 1.0),
        t1_detail=ScalarMap(detail_values, origin_mm, 1.0),
        ventricle_mm=ScalarMap(ventricle_mm, origin_mm, 1.0),
        brain_mm=ScalarMap(brain_mm, origin_mm, 2.0),
        head_mm=ScalarMap(head_mm, origin_mm, 2.0),
    )


def _thicken(field: ScalarMap, slice_mm: int) -> ScalarMap:
    return ScalarMap(ndimage.uniform_filter1d(field.values, slice_mm, axis=2), field.origin_mm, field.step_mm)


def _load_template() -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.float64]]:
    """T1, grey and white matter at 1 mm around the brain, and the MNI position of their first voxel."""
    names = ("load_mni152_template", "load_mni152_gm_template", "load_mni152_wm_template")
    # Imported here, for importing nilearn takes seconds that a reader of real data should not wait.
    images = [import_extra("nilearn.datasets", name)(resolution=1) for name in names]
    arrays = [np.asarray(image.dataobj, dtype=np.float32) for image in images]
    box = ndimage.find_objects((arrays[0] > 0).astype(np.int8))[0]
    padded = [np.pad(a[box], _PAD_MM) for a in arrays]
    origin_mm = images[0].affine[:3, 3] + np.array([s.start - _PAD_MM for s in box], dtype=np.float64)
    return padded[0], padded[1], padded[2], origin_mm


def _find_lateral_ventricles(t1: FloatArray, origin_mm: NDArray[np.float64]) -> BoolArray:
    """Dark components on both sides of the midline; a midline component is a cistern."""
    x, y, z = np.ogrid[tuple(slice(n) for n in t1.shape)]
    x, y, z = x + origin_mm[0], y + origin_mm[1], z + origin_mm[2]
    central = (np.abs(x) < 34) & (y > -56) & (y < 36) & (z > -8) & (z < 32)
    labels, n = ndimage.label((t1 > 0) & (t1 < _VENTRICLE_T1) & central)
    index = np.arange(1, n + 1)
    size = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    mean_x = ndimage.mean(np.broadcast_to(x, t1.shape), labels, index)
    return np.isin(labels, index[(size > 2000) & (np.abs(mean_x) > 6)])


def _signed_distance(mask: BoolArray, step_mm: float) -> FloatArray:
    outside, inside = ndimage.distance_transform_edt(~mask), ndimage.distance_transform_edt(mask)
    return np.asarray((outside - inside) * step_mm, dtype=np.float32)


def _surfaces_mm(brain: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Signed distances in mm to the closed brain and to the head, from a brain mask at 2 mm."""
    grown = ndimage.distance_transform_edt(~brain) <= 5
    closed = ndimage.distance_transform_edt(grown) > 5
    head = np.logical_or.accumulate(closed[:, :, ::-1], axis=2)[:, :, ::-1]
    brain_mm, head_mm = _signed_distance(closed, 2.0), _signed_distance(head, 2.0)
    return ndimage.gaussian_filter(brain_mm, 1.0), ndimage.gaussian_filter(head_mm, 2.0)
