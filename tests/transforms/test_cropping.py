from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose, Flipd, RandCropByPosNegLabel, SpatialPadd

from monai_instance_loss.transforms import LabelInstances, RandCropByInstance, RandCropByInstanced


@pytest.fixture
def small_and_large():
    """(1, 30, 30, 30): a lesion of 1 voxel and one of 1000, far apart; the image holds each voxel's flat index."""
    label = np.zeros((1, 30, 30, 30), np.uint8)
    label[0, 2, 2, 2] = 1
    label[0, 15:25, 15:25, 15:25] = 1
    return label


def _centers(transform: RandCropByInstance, label) -> np.ndarray:
    transform.randomize(label)
    return np.array(transform.centers)


def test_a_small_lesion_is_drawn_as_often_as_a_large_one(small_and_large):
    crop = RandCropByInstance(3, pos=1, neg=0, num_samples=2000).set_random_state(0)
    centers = _centers(crop, small_and_large)
    of_small = (centers == 2).all(1)
    of_large = ((centers >= 15) & (centers < 25)).all(1)
    assert (of_small | of_large).all()
    # binomial, n = 2000, p = 1/2: a standard deviation of 22
    assert abs(of_small.sum() - 1000) < 4 * 22
    # MONAI's draws each voxel alike: 1 in 1001
    peer = RandCropByPosNegLabel(3, pos=1, neg=0, num_samples=2000).set_random_state(0)
    peer.randomize(torch.from_numpy(small_and_large))
    assert (np.array(peer.centers) == 2).all(1).sum() < 20


def test_every_voxel_of_a_lesion_is_as_likely():
    label = np.zeros((1, 9, 9), np.uint8)
    label[0, 3:6, 4] = 1
    label[0, 0, 0] = 1
    crop = RandCropByInstance(1, pos=1, neg=0, num_samples=4000).set_random_state(1)
    centers = _centers(crop, label)
    counts = [(centers == place).all(1).sum() for place in ([0, 0], [3, 4], [4, 4], [5, 4])]
    # 1/2, and 1/6 for each voxel of the other lesion: standard deviations of 32 and 24
    np.testing.assert_allclose(counts, [2000, 2000 / 3, 2000 / 3, 2000 / 3], atol=100)
    assert sum(counts) == 4000


@pytest.mark.parametrize(("pos", "neg", "expected"), [(1, 1, 0.5), (1, 3, 0.25), (3, 1, 0.75), (2, 0, 1), (0, 5, 0)])
def test_share_of_background_crops(small_and_large, pos, neg, expected):
    crop = RandCropByInstance(1, pos=pos, neg=neg, num_samples=1000).set_random_state(2)
    centers = _centers(crop, small_and_large)
    share = small_and_large[0][tuple(centers.T)].mean()
    # a standard deviation of at most 0.016
    assert share == expected if expected in (0, 1) else abs(share - expected) < 0.06


def test_background_centers_are_spread_evenly():
    label = np.array([[[1, 0, 0, 1, 0, 0]]])
    crop = RandCropByInstance(1, pos=0, neg=1, num_samples=4000).set_random_state(3)
    counts = np.bincount(_centers(crop, label)[:, 1], minlength=6)
    np.testing.assert_allclose(counts, [0, 1000, 1000, 0, 1000, 1000], atol=110)


def test_image_limits_background_crops_only():
    label = np.array([[[1, 0, 0, 0]]])
    image = np.array([[[0, 5, 6, 9]], [[0, 0, 9, 0]]])
    crop = RandCropByInstance(1, num_samples=200, image_threshold=5).set_random_state(0)
    crop.randomize(label, image)
    # the lesion is where the image is dark; 5 is not above 5; 9 and 6 are, in some channel
    assert {center[1] for center in crop.centers} == {0, 2, 3}


def test_crops_hold_the_window_around_the_center(small_and_large):
    image = np.arange(30**3).reshape(1, 30, 30, 30)
    crop = RandCropByInstance((5, 4, 3), num_samples=20).set_random_state(0)
    for window in crop(image, small_and_large):
        center = window.meta["crop_center"]
        start = [c - s // 2 for c, s in zip(center, (5, 4, 3), strict=True)]
        expected = image[:, *(slice(a, a + s) for a, s in zip(start, (5, 4, 3), strict=True))]
        np.testing.assert_array_equal(window, expected)


@pytest.mark.parametrize("size", [(4, 4), (5, 5), 5, (5, -1), (7, 1), (7, 8)])
def test_windows_at_the_border_are_whole_and_hold_the_lesion(size):
    for corner in [(0, 0), (0, 7), (6, 0), (6, 7)]:
        label = np.zeros((1, 7, 8))
        label[0][corner] = 1
        given = (size, size) if isinstance(size, int) else size
        wanted = [s if s > 0 else n for s, n in zip(given, (7, 8), strict=True)]
        for window in RandCropByInstance(size, pos=1, neg=0, num_samples=2).set_random_state(0)(label, label):
            assert window.shape == (1, *wanted)
            assert window.sum() == 1


def test_a_smaller_image_is_refused_or_kept():
    label = np.zeros((1, 4, 9))
    label[0, 1, 8] = 1
    with pytest.raises(ValueError, match="larger than the image size"):
        RandCropByInstance((6, 5))(label, label)
    window = RandCropByInstance((6, 5), neg=0, allow_smaller=True)(label, label)[0]
    assert window.shape == (1, 4, 5)
    assert window.sum() == 1


@pytest.mark.parametrize("shape", [(1, 5, 5), (1, 5, 5, 5), (1, 1, 1), (3, 4, 4)])
@pytest.mark.parametrize(("pos", "neg"), [(1, 1), (1, 0), (0, 1)])
def test_no_lesion_gives_background_and_no_background_gives_lesions(shape, pos, neg):
    for value in (0, 1):
        label = np.full(shape, value)
        crops = RandCropByInstance(1, pos=pos, neg=neg, num_samples=3).set_random_state(0)(label, label)
        assert [crop.flatten().tolist() for crop in crops] == [[value] * shape[0]] * 3


def test_a_label_with_nowhere_to_crop_is_refused():
    with pytest.raises(ValueError, match="Expected `label` to have an instance or a background voxel"):
        RandCropByInstance(1, is_instances=True)(np.zeros((1, 2, 2)), np.full((1, 2, 2), -1))
    with pytest.raises(ValueError, match="Expected `label` to have an instance or a background voxel"):
        RandCropByInstance(1)(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), image=np.zeros((1, 2, 2)))


def test_ignored_voxels_are_no_center():
    instance_map = np.array([[[-1, 0, 3, 3, -1, 8]]])
    crop = RandCropByInstance(1, num_samples=300, is_instances=True).set_random_state(0)
    columns = np.bincount(_centers(crop, instance_map)[:, 1], minlength=6)
    assert set(np.flatnonzero(columns)) == {1, 2, 3, 5}
    # 3 and 8 are one lesion each
    assert abs(columns[2] + columns[3] - columns[5]) < 50


def test_first_of_several_channels_is_background():
    label = np.zeros((3, 1, 6))
    label[1, 0, 1] = label[2, 0, 4] = 1
    label[0] = 1 - label[1:].sum(0)
    crop = RandCropByInstance(1, pos=1, neg=0, num_samples=200).set_random_state(0)
    columns = np.bincount(_centers(crop, label)[:, 1], minlength=6)
    assert set(np.flatnonzero(columns)) == {1, 4}
    crop = RandCropByInstance(1, pos=0, neg=1, num_samples=200).set_random_state(0)
    assert set(_centers(crop, label)[:, 1]) == {0, 2, 3, 5}


def test_connectivity():
    # apart, the single voxel is drawn half of the time; joined over the diagonal, a quarter
    label = np.array([[[1, 0, 0, 0], [0, 1, 1, 1]]])
    for connectivity, expected in ((1, 0.5), (None, 0.25)):
        crop = RandCropByInstance(1, neg=0, num_samples=1000, connectivity=connectivity).set_random_state(0)
        assert abs((_centers(crop, label)[:, 0] == 0).mean() - expected) < 0.06


def test_map_gives_the_crops_of_the_mask(speckle):
    mask = speckle[:1]
    first = RandCropByInstance(3, num_samples=20).set_random_state(5)
    second = RandCropByInstance(3, num_samples=20, is_instances=True).set_random_state(5)
    np.testing.assert_array_equal(_centers(first, mask), _centers(second, LabelInstances()(mask)))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda x: MetaTensor(torch.from_numpy(x))])
def test_seed_decides_and_the_form_does_not(speckle, kind):
    mask = speckle[:1]
    crop = RandCropByInstance(3, num_samples=8)
    expected = _centers(crop.set_random_state(7), mask)
    np.testing.assert_array_equal(_centers(crop.set_random_state(7), kind(mask)), expected)
    assert (_centers(crop, kind(mask)) != expected).any()
    assert (_centers(crop.set_random_state(8), kind(mask)) != expected).any()
    windows = crop.set_random_state(7)(kind(mask), kind(mask))
    assert [window.meta["crop_center"] for window in windows] == [tuple(center) for center in expected]


def test_metadata_follow_monai(small_and_large):
    affine = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0]))
    image = MetaTensor(torch.from_numpy(small_and_large), affine=affine, meta={"filename_or_obj": "a.nii"})
    crop = RandCropByInstance(3, num_samples=2).set_random_state(0)
    peer = RandCropByPosNegLabel(3, num_samples=2).set_random_state(0)
    ours, theirs = crop(image, image), peer(image, image)
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert set(mine.meta) == set(other.meta)
        assert mine.meta["patch_index"] == index
        assert mine.meta["filename_or_obj"] == "a.nii"
        assert [set(step) for step in mine.applied_operations] == [set(step) for step in other.applied_operations]
        assert mine.applied_operations[-1]["class"] == "RandCropByInstance"
        # the window starts one voxel before its centre
        start = torch.tensor(mine.meta["crop_center"]) - 1
        torch.testing.assert_close(mine.affine[:3, 3], (start * torch.tensor([1, 2, 3])).to(mine.affine))
    assert image.applied_operations == []
    assert "crop_center" not in image.meta


def test_without_tracking_crops_are_plain(small_and_large):
    set_track_meta(False)
    try:
        window = RandCropByInstance(3)(small_and_large, small_and_large)[0]
    finally:
        set_track_meta(True)
    assert type(window) is torch.Tensor


def test_other_images_are_cropped_alike(small_and_large):
    crop = RandCropByInstance(4, num_samples=3).set_random_state(0)
    labels = crop(small_and_large, small_and_large)
    images = crop(np.concatenate([small_and_large * 2.5] * 2), randomize=False)
    for label, image in zip(labels, images, strict=True):
        assert image.shape == (2, 4, 4, 4)
        np.testing.assert_array_equal(image[0], label[0] * 2.5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pos": 0, "neg": 0}, ValueError, "Expected `pos` or `neg` to be above 0, but got 0 and 0"),
        ({"pos": -1}, ValueError, "Expected `pos` to be finite and 0 or more, but got -1"),
        ({"neg": float("nan")}, ValueError, "Expected `neg` to be finite and 0 or more, but got nan"),
        ({"num_samples": 0}, ValueError, "Expected `num_samples` to be 1 or more, but got 0"),
        ({"num_samples": 1.5}, TypeError, r"Expected `num_samples` to be an integer, but got 1\.5"),
        ({"connectivity": 1, "is_instances": True}, ValueError, "Expected `connectivity` to be None .* but got 1"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        RandCropByInstance(3, **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"label": None}, TypeError, "Expected `label` .* but got NoneType"),
        ({"label": np.zeros((4, 4))}, ValueError, r"Expected `label` .* but got shape \(4, 4\)"),
        ({"label": np.zeros((1, 4, 5))}, ValueError, r"Expected `img` .* shape \(4, 5\), but got \(4, 4\)"),
        ({"image": np.zeros((1, 4, 5))}, ValueError, r"Expected `image` .* shape \(4, 4\), but got \(4, 5\)"),
        ({"randomize": False}, ValueError, "Expected `randomize` to be True in the first call, but got False"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        RandCropByInstance(2)(np.zeros((1, 4, 4)), **{"label": np.zeros((1, 4, 4)), **arguments})


def test_pending_label_is_refused():
    label = MetaTensor(torch.zeros(1, 4, 4))
    pending = Flipd("label", 0, lazy=True)({"label": label})["label"]
    with pytest.raises(ValueError, match="pending operations"):
        RandCropByInstance(2)(label, pending)


def _data(mask: np.ndarray) -> dict:
    image = np.arange(mask.size, dtype=np.float32).reshape(mask.shape)
    return {"image": MetaTensor(image), "label": MetaTensor(mask), "name": ["a"]}


def test_dictionary_version_equals_array_version(small_and_large):
    data = _data(small_and_large)
    crop = RandCropByInstanced(
        ["image", "label", "absent"],
        "label",
        (3, 4, 5),
        pos=2,
        neg=1,
        num_samples=6,
        image_key="image",
        image_threshold=9000,
        allow_missing_keys=True,
    ).set_random_state(3)
    array = RandCropByInstance((3, 4, 5), pos=2, neg=1, num_samples=6, image_threshold=9000).set_random_state(3)
    expected = array(data["image"], data["label"], data["image"])
    out = crop(data)
    assert len(out) == 6
    for window, one in zip(expected, out, strict=True):
        np.testing.assert_array_equal(one["image"], window)
        assert one["image"].meta["crop_center"] == one["label"].meta["crop_center"] == window.meta["crop_center"]
        assert one["label"].shape == (1, 3, 4, 5)
        # not shared between the crops
        assert one["name"] == ["a"]
        assert one["name"] is not data["name"]
        assert list(one) == ["image", "label", "name"]
    assert data["image"].shape == (1, 30, 30, 30)


def test_label_needs_not_be_cropped(small_and_large):
    out = RandCropByInstanced("image", "label", 3)(_data(small_and_large))[0]
    assert out["image"].shape == (1, 3, 3, 3)
    assert out["label"].shape == (1, 30, 30, 30)


@pytest.mark.parametrize("size", [(6, 6, 6), (5, 7, 4)])
def test_lazy_gives_the_same_crops(speckle, size):
    data = {"image": MetaTensor(speckle[:1] * 1.5), "label": MetaTensor(speckle[:1])}

    def pipeline(lazy):
        steps = [
            SpatialPadd(["image", "label"], (16, 16, 16)),
            RandCropByInstanced(["image", "label"], "label", size, num_samples=4),
            Flipd(["image", "label"], 0),
        ]
        return Compose(steps, lazy=lazy).set_random_state(11)

    for eager, lazy in zip(pipeline(False)(data), pipeline(True)(data), strict=True):
        for key in ("image", "label"):
            assert lazy[key].pending_operations == []
            np.testing.assert_allclose(lazy[key], eager[key], atol=1e-5)
            torch.testing.assert_close(lazy[key].affine, eager[key].affine)


def test_lazy_crops_stay_pending(small_and_large):
    crop = RandCropByInstanced("image", "label", 4, lazy=True).set_random_state(0)
    out = crop(_data(small_and_large))[0]["image"]
    assert out.shape == (1, 30, 30, 30)
    assert out.peek_pending_shape() == (4, 4, 4)
    assert crop.lazy
    assert crop.cropper.lazy
    crop.lazy = False
    assert crop(_data(small_and_large))[0]["image"].shape == (1, 4, 4, 4)
    assert crop(_data(small_and_large), lazy=True)[0]["image"].shape == (1, 30, 30, 30)


def test_lazy_pipeline_crops_at_the_current_label(speckle):
    # padding and flip are pending when the crop comes, and must be applied before the label is read
    steps = [
        SpatialPadd("label", (20, 16, 16), method="end"),
        Flipd("label", 0),
        RandCropByInstanced("label", "label", 1, pos=1, neg=0, num_samples=20),
    ]
    out = Compose(steps, lazy=True).set_random_state(0)({"label": MetaTensor(speckle[:1])})
    assert [float(one["label"].max()) for one in out] == [1] * 20
