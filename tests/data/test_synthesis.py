import re

import numpy as np
import pytest
from scipy import ndimage

from monai_instance_loss.data import SITES, WMHCase, synthesize_wmh_case

TOUCHING = np.ones((3, 3, 3))
SEEDS = range(8)
SPACING_MM = (2.5, 2.5, 4.0)


@pytest.fixture(scope="module")
def cases() -> list[WMHCase]:
    return [synthesize_wmh_case(seed, spacing_mm=SPACING_MM) for seed in SEEDS]


def component_sizes(case: WMHCase) -> np.ndarray:
    labels, _ = ndimage.label(case.wmh == 1, TOUCHING)
    return np.bincount(labels.ravel())[1:]


def white_matter_like(case: WMHCase) -> np.ndarray:
    """Unlabelled voxels as bright on T1 as white matter, found from T1 alone."""
    head = case.t1[case.t1 > 0.2 * np.percentile(case.t1, 99)]
    return (case.t1 > np.percentile(head, 60)) & (case.t1 < np.percentile(head, 90)) & (case.wmh == 0)


def contrast(case: WMHCase, mask: np.ndarray) -> float:
    """FLAIR of ``mask`` over that of white matter within about 2 cm, as a share of the latter."""
    near = ndimage.binary_dilation(mask, iterations=6) & white_matter_like(case)
    return float(case.flair[mask].mean() / np.median(case.flair[near]) - 1)


def test_same_seed_same_voxels():
    first, second = (synthesize_wmh_case(3, site="GE3T", spacing_mm=(4, 4, 6)) for _ in range(2))
    for name in ("flair", "t1", "wmh", "affine"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_other_seed_other_voxels(cases):
    assert cases[0].flair.shape != cases[1].flair.shape or (cases[0].flair != cases[1].flair).any()


@pytest.mark.parametrize("spacing_mm", [(2.5, 2.5, 4.0), (4, 4, 6), (8, 8, 8), (4, 3, 2)])
def test_grid(spacing_mm):
    case = synthesize_wmh_case(1, spacing_mm=spacing_mm)
    assert case.flair.shape == case.t1.shape == case.wmh.shape
    assert (case.flair.dtype, case.t1.dtype, case.wmh.dtype) == (np.int16, np.int16, np.uint8)
    np.testing.assert_allclose(np.linalg.norm(case.affine[:3, :3], axis=0), spacing_mm)
    assert np.linalg.det(case.affine[:3, :3]) > 0
    # Rows and columns stay within a head tilt of right, anterior and superior.
    assert (np.diag(case.affine)[:3] / spacing_mm > 0.95).all()
    centre_mm = case.affine @ [*(np.array(case.flair.shape) / 2), 1]
    assert np.abs(centre_mm[:3]).max() < 60
    extent_mm = np.array(case.flair.shape) * spacing_mm
    assert (extent_mm > 140).all()
    assert (extent_mm < 270).all()


def test_site_spacing_is_the_default():
    case = synthesize_wmh_case(0, site="GE3T")
    np.testing.assert_allclose(np.linalg.norm(case.affine[:3, :3], axis=0), SITES["GE3T"].spacing_mm)
    assert component_sizes(case).min() >= 2


def test_labels(cases):
    assert {int(v) for case in cases for v in np.unique(case.wmh)} <= {0, 1, 2}


def test_other_pathology_in_about_a_quarter_of_the_cases():
    share = np.mean([(synthesize_wmh_case(seed, spacing_mm=(8, 8, 8)).wmh == 2).any() for seed in range(40)])
    assert 0.1 < share < 0.45


@pytest.mark.parametrize("spacing_mm", [(4, 4, 6), (8, 8, 8)])
def test_no_component_below_two_voxels_at_coarse_spacing(spacing_mm):
    assert component_sizes(synthesize_wmh_case(2, spacing_mm=spacing_mm)).min() >= 2


def test_lesion_sizes_have_a_heavy_tail(cases):
    sizes = [component_sizes(case) for case in cases]
    assert all(s.min() >= 2 for s in sizes)
    assert all(5 <= len(s) <= 90 for s in sizes)
    pooled = np.concatenate(sizes)
    assert (pooled <= 10).mean() > 0.4
    assert pooled.max() * np.prod(SPACING_MM) > 2000
    assert pooled.mean() > 2 * np.median(pooled)


def test_lesions_are_bright_on_flair_and_dark_on_t1(cases):
    for case in cases:
        lesion, near = case.wmh == 1, white_matter_like(case)
        assert case.flair[lesion].mean() > 1.2 * np.median(case.flair[near])
        assert case.t1[lesion].mean() < 0.95 * np.median(case.t1[near])


def test_small_lesions_have_less_contrast_but_stand_out_from_noise(cases):
    small, large = [], []
    for case in cases:
        labels, _ = ndimage.label(case.wmh == 1, TOUCHING)
        for index, size in enumerate(component_sizes(case), start=1):
            if size <= 5 or size >= 60:
                (small if size <= 5 else large).append(contrast(case, labels == index))
    assert len(small) > 20
    assert len(large) > 3
    assert np.median(small) < 0.75 * np.median(large)
    # The noise of one voxel is 0.045 of white matter.
    assert np.median(small) > 3 * 0.045


def test_grey_matter_is_brighter_than_white_on_flair_and_fluid_is_dark(cases):
    for case in cases:
        centre = tuple(slice(int(0.25 * n), int(0.75 * n)) for n in case.t1.shape)
        t1, flair = case.t1[centre], case.flair[centre]
        white = np.percentile(t1, 80)
        grey = (t1 > 0.68 * white) & (t1 < 0.8 * white) & (case.wmh[centre] == 0)
        assert np.median(flair[grey]) > 1.05 * np.median(flair[t1 > 0.95 * white])
        assert np.median(flair[t1 < 0.4 * white]) < 0.6 * np.median(flair[grey])


def test_there_are_bright_voxels_that_are_no_lesion(cases):
    for case in cases:
        centre = tuple(slice(int(0.25 * n), int(0.75 * n)) for n in case.t1.shape)
        bright = case.flair > np.percentile(case.flair[case.wmh == 1], 30)
        away = ~ndimage.binary_dilation(case.wmh > 0, TOUCHING)
        _, n_confounders = ndimage.label((bright & away)[centre], TOUCHING)
        assert n_confounders >= 5


@pytest.mark.parametrize("name", ["flair", "t1"])
def test_sites_differ_in_scale(name):
    means = [getattr(synthesize_wmh_case(0, site=site, spacing_mm=(6, 6, 8)), name).mean() for site in SITES]
    assert max(means) > 3 * min(means)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": -1}, ValueError, "Expected `seed` to be 0 or more, but got -1."),
        ({"seed": 1.5}, TypeError, "Expected `seed` to be an integer, but got 1.5"),
        ({"seed": True}, TypeError, "Expected `seed` to be an integer, but got True"),
        ({"site": "Delft"}, ValueError, "Expected `site` to be one of ['GE3T', 'Singapore', 'Utrecht'], but got"),
        ({"spacing_mm": (1, 1)}, ValueError, "Expected `spacing_mm` to be three voxel sizes"),
        ({"spacing_mm": (1, 1, 0)}, ValueError, "Expected `spacing_mm` to be three voxel sizes"),
        ({"spacing_mm": (1, 1, float("nan"))}, ValueError, "Expected `spacing_mm` to be three voxel sizes"),
        ({"spacing_mm": 2.0}, TypeError, "Expected `spacing_mm` to be three voxel sizes"),
        ({"spacing_mm": "222"}, TypeError, "Expected `spacing_mm` to be three voxel sizes"),
        ({"spacing_mm": (1, 1, "3")}, TypeError, "Expected `spacing_mm` to be three voxel sizes"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        synthesize_wmh_case(**{"seed": 0, **arguments})
