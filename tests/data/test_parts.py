import sys

import numpy as np
import pytest
from monai.utils import OptionalImportError

from monai_instance_loss.data.anatomy import draw_anatomy
from monai_instance_loss.data.atlas import load_atlas
from monai_instance_loss.data.blobs import draw_blob
from monai_instance_loss.data.noise import smooth_noise


def test_smooth_noise_has_unit_variance_everywhere_and_is_smooth():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_noise(rng, (12, 10, 8), (2, 2, 3), 10.0) for _ in range(400)])
    assert np.abs(fields.mean(axis=0)).max() < 0.25
    np.testing.assert_allclose(fields.std(axis=0), 1, atol=0.2)
    assert np.abs(np.diff(fields, axis=1)).mean() < 0.4


def test_smooth_noise_scale_is_in_mm():
    coarse, fine = (smooth_noise(np.random.default_rng(0), (n, 4, 4), (48 / n, 9, 9), 16.0) for n in (12, 48))
    np.testing.assert_allclose(coarse[1:-1], fine[4:-4:4], atol=0.05)


SIZES = [(24, (2, 2, 3)), (300, (2, 2, 3)), (10, (1, 1, 3)), (1, (4, 4, 6))]


@pytest.mark.parametrize(("volume_mm3", "spacing_mm"), SIZES)
def test_blob_meets_its_volume(volume_mm3, spacing_mm):
    sizes = []
    for seed in range(30):
        mask = np.zeros((41, 41, 41), dtype=bool)
        draw_blob(np.random.default_rng(seed), mask, ~mask, (20, 20, 20), volume_mm3, spacing_mm)
        sizes.append(mask.sum())
    wanted = max(2, round(volume_mm3 / np.prod(spacing_mm)))
    assert max(sizes) <= wanted
    assert np.median(sizes) >= 0.9 * wanted


def test_blob_stays_where_it_may_lie_and_adds_to_the_mask():
    mask, allowed = np.zeros((15, 15, 15), dtype=bool), np.zeros((15, 15, 15), dtype=bool)
    mask[0], allowed[5:9] = True, True
    draw_blob(np.random.default_rng(0), mask, allowed, (7, 7, 7), 30.0, (1, 1, 1))
    assert mask[0].all()
    assert 2 <= mask[1:].sum() <= 30
    assert not (mask[1:] & ~allowed[1:]).any()


def test_blob_is_left_out_where_it_does_not_fit():
    mask = np.zeros((9, 9, 9), dtype=bool)
    draw_blob(np.random.default_rng(0), mask, mask.copy(), (4, 4, 4), 30.0, (1, 1, 1))
    assert not mask.any()


def test_atlas_is_loaded_once():
    assert load_atlas(3) is load_atlas(3)
    assert load_atlas(3).brain_mm is load_atlas().brain_mm


def test_atlas_ventricles_are_bilateral():
    ventricle_mm = load_atlas().ventricle_mm
    for x_mm in (-5, 5):
        horn = np.array([x_mm, 10, 14], dtype=np.float32).reshape(3, 1, 1, 1)
        assert ventricle_mm.sample(horn).item() < 0
    cortex = np.array([50, -20, 40], dtype=np.float32).reshape(3, 1, 1, 1)
    assert ventricle_mm.sample(cortex).item() > 20


def test_tissue_fractions_sum_to_one_inside_the_brain():
    anatomy = draw_anatomy(np.random.default_rng(1), (4, 4, 6))
    total = anatomy.gm + anatomy.wm + anatomy.csf
    np.testing.assert_allclose(total[anatomy.brain_mm < -3], 1, atol=1e-4)
    assert (anatomy.gm.min(), anatomy.wm.min(), anatomy.csf.min()) >= (0, 0, 0)
    assert total.max() <= 1 + 1e-4


def test_missing_nilearn_names_the_extra(monkeypatch):
    for name in [n for n in sys.modules if n == "nilearn" or n.startswith("nilearn.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(OptionalImportError, match=r'no nilearn: run `pip install "monai_instance_loss\[bundle\]"'):
        load_atlas.__wrapped__()
