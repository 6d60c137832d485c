import hashlib
import re

import numpy as np
import pytest
from scipy import ndimage

from monai_instance_loss.data import DISEASES, SITES, WMHCase, find_wmh_cases, synthesize_wmh_case, wmh_cases
from monai_instance_loss.data.anatomy import Anatomy, draw_anatomy
from monai_instance_loss.data.confounders import draw_confounders
from monai_instance_loss.data.focal_lesions import draw_focal_lesions
from monai_instance_loss.data.lesions import draw_lesions

TOUCHING = np.ones((3, 3, 3))
SPACING_MM = (3.0, 3.0, 4.0)
VOXEL_MM3 = 36.0
FOCAL = ["microbleeds", "metastases"]


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return draw_anatomy(np.random.default_rng(0), SPACING_MM)


@pytest.fixture(scope="module")
def cases() -> dict[str, list[WMHCase]]:
    return {d: [synthesize_wmh_case(s, spacing_mm=SPACING_MM, disease=d) for s in range(6)] for d in FOCAL}


def instances(mask: np.ndarray) -> list[np.ndarray]:
    labels, n = ndimage.label(mask, TOUCHING)
    return [labels == index for index in range(1, n + 1)]


def drawn(anatomy: Anatomy, disease: str, n_cases: int) -> list[tuple[np.ndarray, np.ndarray]]:
    law = DISEASES[disease].focal
    return [draw_focal_lesions(np.random.default_rng(seed), anatomy, law) for seed in range(n_cases)]


def noise_units(case: WMHCase, lesion: np.ndarray) -> float:
    """Mean of a lesion over the tissue around it, in standard deviations of one voxel's noise."""
    near = ndimage.binary_dilation(lesion, iterations=2) & ~ndimage.binary_dilation(case.wmh > 0)
    tissue = np.median(case.flair[near])
    return float((case.flair[lesion].mean() - tissue) / tissue / SITES["Utrecht"].noise)


def test_wmh_cases_keep_their_voxels():
    # Stored from the generator before it had diseases. The scans are compared by their means and at some voxels, each
    # with its own noise, to one unit: the last bit of a matrix product may differ between machines.
    for arguments in ({}, {"disease": "wmh"}):
        case = synthesize_wmh_case(6, site="GE3T", spacing_mm=(6, 5, 8), **arguments)
        assert set(np.unique(case.wmh)) == {0, 1, 2}
        assert hashlib.sha256(case.wmh.tobytes()).hexdigest()[:16] == "3f2cfe2c923da0a5"
        flair = [1467, 1579, 1436, 1521, 494, 433, 1432, 2219, 1525]
        t1 = [1831, 1449, 1930, 2008, 670, 510, 2110, 1578, 1526]
        np.testing.assert_allclose(case.flair[16, 10:36:3, 11], flair, atol=1)
        np.testing.assert_allclose(case.t1[16, 10:36:3, 11], t1, atol=1)
        np.testing.assert_allclose([case.flair.mean(), case.t1.mean()], [592.4936, 728.7500], atol=0.005)


@pytest.mark.parametrize("disease", FOCAL)
def test_a_case_holds_separate_lesions_only(cases, disease):
    wmh = [synthesize_wmh_case(seed, spacing_mm=SPACING_MM) for seed in range(2)]
    for case in cases[disease]:
        assert set(np.unique(case.wmh)) <= {0, 1}
        assert case.wmh.dtype == np.uint8
    for case, other in zip(cases[disease], wmh, strict=False):
        np.testing.assert_array_equal(case.affine, other.affine)
        assert not np.array_equal(case.wmh, other.wmh)


@pytest.mark.parametrize("disease", FOCAL)
def test_same_seed_same_voxels(cases, disease):
    again = synthesize_wmh_case(1, spacing_mm=SPACING_MM, disease=disease)
    for name in ("flair", "t1", "wmh", "affine"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cases[disease][1], name))


@pytest.mark.parametrize("disease", FOCAL)
def test_lesions_lie_in_tissue(anatomy, disease):
    for mask, _ in drawn(anatomy, disease, 6):
        assert (anatomy.gm + anatomy.wm)[mask].min(initial=1) > 0.6
        assert anatomy.brain_mm[mask].max(initial=-9) < -3


@pytest.mark.parametrize(("disease", "least"), [("microbleeds", 2.5), ("metastases", 4.0)])
def test_lesions_stand_out_from_noise(cases, disease, least):
    units = [noise_units(case, lesion) for case in cases[disease] for lesion in instances(case.wmh == 1)]
    assert len(units) >= 10
    assert min(units) > least
    # Metastases are the plain ones.
    assert (np.median(units) > 9) == (disease == "metastases")


def test_microbleeds_are_few_and_small(anatomy):
    counts, sizes = [], []
    for mask, _ in drawn(anatomy, "microbleeds", 60):
        lesions = instances(mask)
        counts.append(len(lesions))
        sizes += [lesion.sum() for lesion in lesions]
    assert max(counts) == 10
    # 24 to 360 mm3 at 36 mm3 a voxel are 2 (the least of any lesion) to 10 voxels.
    assert (min(sizes), max(sizes)) == (2, 10)
    # A third of 60 is 20, with a standard deviation of 3.7.
    assert 10 <= counts.count(0) <= 30


def test_microbleeds_have_2_to_30_voxels_at_the_spacing_of_the_benchmark():
    anatomy = draw_anatomy(np.random.default_rng(0), (2, 2, 3))
    sizes = [lesion.sum() for mask, _ in drawn(anatomy, "microbleeds", 6) for lesion in instances(mask)]
    assert min(sizes) >= 2
    assert 20 <= max(sizes) <= 30


def test_lesion_free_microbleed_cases_are_full_of_lookalikes(anatomy):
    plain, many = (
        draw_confounders(np.random.default_rng(0), anatomy, DISEASES[name]) for name in ("wmh", "microbleeds")
    )
    extra = instances((many - plain) > 0.2)
    # 20 to 40 dots in sulci and as many streaks, some of which touch or lie under what is bright already.
    assert len(extra) >= 20
    longest_mm = [max((np.ptp(np.nonzero(e), axis=1) + 1) * SPACING_MM) for e in extra]
    # No microbleed is that long: the largest is 9 mm across as a ball.
    assert max(longest_mm) > 15
    in_fluid = [(anatomy.gm + anatomy.wm)[e].mean() < 0.6 for e in extra]
    assert sum(in_fluid) >= 5
    assert len(in_fluid) - sum(in_fluid) >= 5
    np.testing.assert_array_equal(plain, draw_confounders(np.random.default_rng(0), anatomy, DISEASES["metastases"]))


def test_metastases_are_of_all_sizes_and_some_are_rings(anatomy):
    counts, volumes_mm3, is_ring = [], [], []
    for mask, depth in drawn(anatomy, "metastases", 60):
        lesions = instances(mask)
        counts.append(len(lesions))
        for lesion in lesions:
            volumes_mm3.append(lesion.sum() * VOXEL_MM3)
            if volumes_mm3[-1] >= 800:
                is_ring.append(bool(depth[lesion].any()))
            else:
                assert not depth[lesion].any()
    assert (min(counts), max(counts)) == (0, 8)
    assert min(volumes_mm3) == 2 * VOXEL_MM3
    assert 3000 < max(volumes_mm3) <= 5000
    # The median of a log-uniform law is sqrt(20 * 5000) = 316 mm3.
    assert 0.4 < np.mean(np.array(volumes_mm3) < 316) < 0.6
    # A third of some 90, with a standard deviation of 0.05.
    assert len(is_ring) > 60
    assert 0.2 < np.mean(is_ring) < 0.47


def test_a_ring_is_one_lesion_with_a_closed_rim(anatomy):
    rings = [(m, d, lesion) for m, d in drawn(anatomy, "metastases", 20) for lesion in instances(m) if d[lesion].any()]
    assert len(rings) >= 5
    for mask, depth, lesion in rings:
        core = lesion & (depth == 1)
        assert core.any()
        assert (depth[lesion & ~core] == 0.25).all()
        # Face to face the core meets the lesion only.
        assert lesion[ndimage.binary_dilation(core)].all()
        assert not (depth > 0)[~mask].any()


def test_a_ring_is_bright_around_a_dark_core_and_labelled_whole():
    for seed in range(20):
        # The streams of anatomy and lesions as the generator spawns them.
        first, second = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5)[:2])
        anatomy = draw_anatomy(first, SPACING_MM)
        lesions = draw_lesions(second, anatomy, DISEASES["metastases"])
        if (lesions.cavity_depth == 1).any():
            break
    case = synthesize_wmh_case(seed, spacing_mm=SPACING_MM, disease="metastases")
    core, rim = lesions.cavity_depth == 1, lesions.cavity_depth == 0.25
    assert (case.wmh[core | rim] == 1).all()
    tissue = np.median(case.flair[anatomy.wm > 0.9])
    assert case.flair[rim].mean() > 1.4 * tissue
    assert case.flair[core].mean() < 0.7 * tissue


def test_data_set_of_a_disease_has_the_usual_files(tmp_path):
    options = {"cases_per_site": 1, "sites": ["GE3T"], "spacing_mm": (6.0, 5.0, 8.0), "progress": False}
    files = {}
    for disease in ("wmh", "metastases"):
        folder = tmp_path / disease
        assert wmh_cases(folder, disease=disease, **options) == find_wmh_cases(folder)
        files[disease] = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.gz")}
    assert files["wmh"].keys() == files["metastases"].keys()
    assert files["wmh"]["GE3T/0/wmh.nii.gz"] != files["metastases"]["GE3T/0/wmh.nii.gz"]


def test_unknown_disease(tmp_path):
    message = "Expected `disease` to be one of ['metastases', 'microbleeds', 'wmh'], but got 'stroke'."
    with pytest.raises(ValueError, match=re.escape(message)):
        synthesize_wmh_case(0, disease="stroke")
    with pytest.raises(ValueError, match=re.escape(message)):
        wmh_cases(tmp_path / "data", disease="stroke")
    assert not (tmp_path / "data").exists()
