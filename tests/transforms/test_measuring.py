from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor, set_track_meta
from scipy import ndimage

from monai_instance_loss.instances import instances_from_map, label_instances
from monai_instance_loss.transforms import MeasureInstances, measure_instances

# voxels of 1 x 2 x 3 mm, axes 0 and 1 swapped, origin at (10, 20, 30)
AFFINE = np.array([[0.0, -2, 0, 10], [1, 0, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])


@pytest.fixture
def two():
    """An L of three voxels, and one voxel in the other corner."""
    mask = torch.zeros(1, 1, 3, 4, 2)
    mask[0, 0, 0, 0, 0] = mask[0, 0, 0, 1, 0] = mask[0, 0, 1, 1, 0] = 1
    mask[0, 0, 2, 3, 1] = 1
    return label_instances(mask)


def test_by_hand(two):
    image = torch.zeros(1, 1, 3, 4, 2)
    image[0, 0, 0, 0, 0], image[0, 0, 0, 1, 0], image[0, 0, 1, 1, 0], image[0, 0, 2, 3, 1] = 1, 2, 6, -4
    first, second = measure_instances(two, AFFINE, image)
    assert first == {
        "id": 1,
        "sample": 0,
        "channel": 0,
        "voxels": 3,
        # 3 voxels of 6 mm3
        "volume_mm3": pytest.approx(18),
        # the centre of mass (1/3, 2/3, 0) goes to x = 10 - 2 * 2/3, y = 20 + 1/3, z = 30
        "centroid_mm_x": pytest.approx(10 - 4 / 3),
        "centroid_mm_y": pytest.approx(20 + 1 / 3),
        "centroid_mm_z": pytest.approx(30),
        "centroid_voxel_0": pytest.approx(1 / 3),
        "centroid_voxel_1": pytest.approx(2 / 3),
        "centroid_voxel_2": 0,
        "box_start_0": 0,
        "box_start_1": 0,
        "box_start_2": 0,
        "box_stop_0": 2,
        "box_stop_1": 2,
        "box_stop_2": 1,
        "mean_intensity": 3,
        "max_intensity": 6,
    }
    assert (second["id"], second["voxels"], second["mean_intensity"], second["max_intensity"]) == (2, 1, -4, -4)
    assert [second[f"box_start_{axis}"] for axis in range(3)] == [2, 3, 1]
    assert [second[f"box_stop_{axis}"] for axis in range(3)] == [3, 4, 2]


def test_values_are_python_numbers(two):
    for row in measure_instances(two, AFFINE, torch.ones(1, 1, 3, 4, 2, dtype=torch.float16)):
        whole = {key for key in row if key in ("id", "sample", "channel", "voxels") or key.startswith("box_")}
        assert {key for key, value in row.items() if type(value) is int} == whole
        assert {key for key, value in row.items() if type(value) is float} == set(row) - whole


def test_columns_follow_what_is_given(two):
    plain = ["id", "sample", "channel", "voxels"]
    plain += [f"{name}_{axis}" for name in ("centroid_voxel", "box_start", "box_stop") for axis in range(3)]
    assert list(measure_instances(two)[0]) == plain
    images = torch.zeros(1, 2, 3, 4, 2)
    added = ["mean_intensity_0", "max_intensity_0", "mean_intensity_1", "max_intensity_1"]
    assert list(measure_instances(two, images=images)[0]) == plain + added
    flat = measure_instances(label_instances(torch.ones(1, 1, 2, 3)), np.eye(3))[0]
    assert "volume_mm3" not in flat
    assert "centroid_mm_z" not in flat
    assert flat["area_mm2"] == 6


def test_a_slice_may_lie_anywhere_in_the_world():
    # a 2D image with a 4 x 4 affine: the slice stands upright, rows along z (2 mm), columns along x (3 mm)
    affine = np.array([[0.0, 3, 0, 1], [0, 0, 1, 2], [2, 0, 0, 3], [0, 0, 0, 1]])
    mask = torch.tensor([[[[0, 0], [0, 1]]]])
    row = measure_instances(label_instances(mask), affine)[0]
    assert (row["centroid_mm_x"], row["centroid_mm_y"], row["centroid_mm_z"]) == (4, 2, 5)
    assert row["area_mm2"] == pytest.approx(6)


def test_volume_is_that_of_the_sheared_voxel(two):
    # a shear keeps the volume of 1 x 2 x 3 = 6 though one edge is longer
    affine = np.array([[1.0, 0, 5, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    assert measure_instances(two, affine)[1]["volume_mm3"] == pytest.approx(6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    dims = draw(st.integers(2, 3))
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 2), *[st.integers(1, 5)] * dims))
    mask = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1), fill=st.nothing()))
    return mask, np.random.default_rng(draw(st.integers(0, 9))).normal(size=shape)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_agrees_with_scipy(case):
    mask, image = case
    dims = mask.ndim - 2
    affine = np.diag([2.0, 3.0, 0.5, 1.0])
    affine[:3, 3] = [1, -1, 4]
    expected = []
    for b in range(mask.shape[0]):
        for c in range(mask.shape[1]):
            labels, count = ndimage.label(mask[b, c], np.ones((3,) * dims))
            boxes = ndimage.find_objects(labels)
            for i in range(1, count + 1):
                center = np.array(ndimage.center_of_mass(labels == i))
                world = (affine @ np.array([*center, *[0] * (3 - dims), 1]))[:3]
                row = [len(expected) + 1, b, c, (labels == i).sum(), (labels == i).sum() * (3.0 if dims == 3 else 6.0)]
                row += [*world, *center, *[s.start for s in boxes[i - 1]], *[s.stop for s in boxes[i - 1]]]
                for channel in image[b]:
                    row += [ndimage.mean(channel, labels, i), ndimage.maximum(channel, labels, i)]
                expected.append(row)
    rows = measure_instances(label_instances(torch.from_numpy(mask)), affine, image)
    assert len(rows) == len(expected)
    for row, values in zip(rows, expected, strict=True):
        np.testing.assert_allclose(list(row.values()), values, rtol=1e-9, atol=1e-9)


def test_a_batch_is_its_samples(speckle):
    mask = torch.from_numpy(np.stack([speckle, speckle[:, ::-1].copy()]))
    images = [np.random.default_rng(i).normal(size=(1, *speckle.shape[1:])).astype(np.float32) for i in range(2)]
    affines = torch.stack([torch.eye(4), torch.from_numpy(AFFINE).float()])
    together = measure_instances(label_instances(mask), affines, images)
    apart = []
    for sample in range(2):
        rows = measure_instances(label_instances(mask[sample][None]), affines[sample], [images[sample]])
        apart += [row | {"sample": sample, "id": row["id"] + len(apart)} for row in rows]
    assert together == apart
    assert together == measure_instances(label_instances(mask), affines, np.stack(images))
    assert len({row["sample"] for row in together}) == 2
    assert len({row["channel"] for row in together}) == 2


def test_ids_in_any_order_give_the_same_rows(speckle):
    labelled = label_instances(torch.from_numpy(speckle)[None])
    permuted = torch.where(labelled.labels > 0, 1000 - labelled.labels, 0)
    key = lambda row: [row[name] for name in sorted(row) if name != "id"]  # noqa: E731
    rows = measure_instances(instances_from_map(permuted), AFFINE)
    assert sorted(map(key, rows)) == sorted(map(key, measure_instances(labelled, AFFINE)))
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))


def test_background_of_the_image_may_hold_nan(two):
    image = torch.where(two.labels > 0, 1.0, torch.nan)
    assert [row["mean_intensity"] for row in measure_instances(two, images=image)] == [1, 1]


def test_rows_go_into_a_csv_file(two, tmp_path):
    rows = measure_instances(two, AFFINE)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with (tmp_path / "table.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [{key: float(value) for key, value in row.items()} for row in read] == rows


@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (2, 2, 3, 3, 3), (0, 1, 3, 3), (1, 0, 3, 3), (1, 1, 0, 3)])
def test_nothing_to_measure(shape):
    empty = label_instances(torch.zeros(shape))
    assert measure_instances(empty) == []
    assert measure_instances(empty, np.eye(4), torch.zeros(shape)) == []


def test_one_voxel_and_all_foreground():
    row = measure_instances(label_instances(torch.ones(1, 1, 1, 1, 1)), np.eye(4), torch.ones(1, 1, 1, 1, 1))[0]
    assert (row["voxels"], row["volume_mm3"], row["centroid_mm_x"], row["box_stop_2"]) == (1, 1, 0, 1)
    assert measure_instances(label_instances(torch.ones(1, 1, 2, 3, 4)))[0]["voxels"] == 24


@pytest.mark.parametrize(
    ("affine", "images", "error", "message"),
    [
        (np.eye(3), None, ValueError, r"Expected `affine` .* but got shape \(3, 3\)"),
        (np.zeros((2, 4, 4)), None, ValueError, r"Expected `affine` .* but got shape \(2, 4, 4\)"),
        (np.full((4, 4), np.nan), None, ValueError, "Expected `affine` to be finite"),
        ((1, 1, 1), None, TypeError, "Expected `affine` .* but got tuple"),
        (None, np.zeros((1, 3, 4, 2)), ValueError, r"Expected `images` .* but got \[\(1, 3, 4, 2\)\]"),
        (None, np.zeros((2, 1, 3, 4, 2)), ValueError, r"Expected `images` .* but got \[\(2, 1, 3, 4, 2\)\]"),
        (None, np.zeros((1, 1, 3, 4, 3)), ValueError, r"Expected `images` .* but got \[\(1, 1, 3, 4, 3\)\]"),
        (None, [], ValueError, r"Expected `images` .* but got \[\]"),
        (None, ["a.nii"], TypeError, "Expected `images` .* but got str"),
        (None, "a.nii", TypeError, "Expected `images` .* but got str"),
        (None, np.full((1, 1, 3, 4, 2), np.inf), ValueError, "Expected `images` to be finite within instances"),
        (None, np.ones((1, 1, 3, 4, 2), complex), TypeError, "Expected `images` to be real, but got torch.complex128"),
    ],
)
def test_bad_arguments_are_refused(two, affine, images, error, message):
    with pytest.raises(error, match=message):
        measure_instances(two, affine, images)


def test_what_are_no_instances_is_refused():
    with pytest.raises(TypeError, match="Expected `instances` to be an Instances, but got Tensor"):
        measure_instances(torch.ones(1, 1, 2, 2))


def test_transform_is_the_function(speckle):
    image = np.random.default_rng(1).normal(size=(1, *speckle.shape[1:]))
    labelled = label_instances(torch.from_numpy(speckle)[None])
    assert MeasureInstances()(speckle, image) == measure_instances(labelled, None, image[None])
    assert MeasureInstances()(torch.from_numpy(speckle)) == measure_instances(labelled)
    mask = MetaTensor(torch.from_numpy(speckle), affine=torch.from_numpy(AFFINE))
    assert MeasureInstances()(mask, image) == measure_instances(labelled, AFFINE, image[None])
    set_track_meta(False)
    try:
        assert MeasureInstances()(mask, image) == measure_instances(labelled, AFFINE, image[None])
    finally:
        set_track_meta(True)


def test_transform_names_the_ids_of_the_map():
    # two channels may use the same id; ignored voxels are no instance
    instance_map = np.array([[[7, 0, 3, 3]], [[0, 7, 7, -1]]])
    rows = MeasureInstances(is_instances=True)(instance_map)
    assert [(row["id"], row["channel"], row["voxels"]) for row in rows] == [(3, 0, 2), (7, 0, 1), (7, 1, 2)]
    assert all(type(row["id"]) is int for row in rows)


def test_transform_obeys_connectivity_and_refuses_it_for_a_map():
    mask = np.array([[[1, 0], [0, 1]]])
    assert len(MeasureInstances()(mask)) == 1
    assert len(MeasureInstances(connectivity=1)(mask)) == 2
    with pytest.raises(ValueError, match=r"Expected `connectivity` to be None .* but got 1"):
        MeasureInstances(connectivity=1, is_instances=True)
    with pytest.raises(ValueError, match=r"Expected `mask` .* but got shape \(2,\)"):
        MeasureInstances()(np.zeros(2))
