"""What every transform of instances owes to MONAI: files, loaders, pickling, metadata, and its dictionary version."""

from __future__ import annotations

import copy
import inspect
import pickle

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, MetaTensor, set_track_meta
from monai.data.utils import no_collation
from monai.transforms import Compose, CopyItemsd, EnsureChannelFirstd, Flip, LoadImaged, RandFlipd, SpatialCropd
from monai.utils import TransformBackends

from monai_instance_loss import transforms
from monai_instance_loss.operating_points import OperatingPoint
from monai_instance_loss.transforms import (
    CheckFinite,
    CheckFinited,
    CheckMask,
    CheckMaskd,
    FilterInstances,
    FilterInstancesd,
    InstanceCenters,
    InstanceCentersd,
    InstanceOperatingPoint,
    InstanceOperatingPointd,
    InstanceWeightMap,
    InstanceWeightMapd,
    LabelInstances,
    LabelInstancesd,
    MeasureInstances,
    MeasureInstancesd,
    RandCropByInstance,
    RandCropByInstanced,
)

AFFINE = np.diag([1.0, 1.5, 3.0, 1.0])
# each transform that maps a mask to a mask, with options that need the voxel size
ARRAY = [
    LabelInstances(),
    FilterInstances(min_volume_mm3=10, remove_border=True),
    InstanceCenters("box", radius=2),
    InstanceCenters("gaussian", sigma_mm=2.0),
    InstanceWeightMap(background_weight=None),
    InstanceWeightMap(mode="border", sigma_mm=2.0),
    InstanceOperatingPoint(OperatingPoint(0.5, min_volume_mm3=10)),
]
DICTIONARY = [
    LabelInstancesd("label"),
    FilterInstancesd("label", min_volume_mm3=10, remove_border=True),
    InstanceCentersd("label", "box", radius=2),
    InstanceCentersd("label", "gaussian", sigma_mm=2.0),
    InstanceWeightMapd("label", background_weight=None),
    InstanceWeightMapd("label", mode="border", sigma_mm=2.0),
    InstanceOperatingPointd("label", OperatingPoint(0.5, min_volume_mm3=10)),
]
NAMES = ["label", "filter", "box", "gaussian", "weights", "border", "point"]
PAIRS = [
    (CheckFinite, CheckFinited),
    (CheckMask, CheckMaskd),
    (LabelInstances, LabelInstancesd),
    (FilterInstances, FilterInstancesd),
    (InstanceCenters, InstanceCentersd),
    (InstanceWeightMap, InstanceWeightMapd),
    (InstanceOperatingPoint, InstanceOperatingPointd),
    (MeasureInstances, MeasureInstancesd),
    (RandCropByInstance, RandCropByInstanced),
]


@pytest.fixture
def files(tmp_path, speckle):
    """Three cases as NIfTI files: image and label."""
    cases = []
    for index in range(3):
        label = np.roll(speckle[0], index, axis=0)
        image = np.random.default_rng(index).normal(size=label.shape).astype(np.float32)
        case = {}
        for key, values in (("image", image), ("label", label)):
            case[key] = str(tmp_path / f"{key}-{index}.nii.gz")
            nib.save(nib.Nifti1Image(values, AFFINE), case[key])
        cases.append(case)
    return cases


def _loading() -> list:
    return [LoadImaged(["image", "label"]), EnsureChannelFirstd(["image", "label"])]


@pytest.mark.parametrize(("array", "dictionary"), list(zip(ARRAY, DICTIONARY, strict=True)), ids=NAMES)
def test_from_file_to_batch(array, dictionary, files, speckle):
    dataset = CacheDataset(files, Compose([*_loading(), dictionary]), progress=False, num_workers=1)
    batches = list(DataLoader(dataset, batch_size=3, num_workers=2))
    assert len(batches) == 1
    label = batches[0]["label"]
    mask = MetaTensor(torch.from_numpy(speckle[:1]), affine=torch.from_numpy(AFFINE))
    expected = array(mask)
    assert label.shape == (3, *expected.shape)
    torch.testing.assert_close(label[0].as_tensor(), expected.as_tensor().to(label.dtype))
    torch.testing.assert_close(label.affine[0], torch.from_numpy(AFFINE))


def test_crops_from_file_to_batch(files):
    crop = RandCropByInstanced(["image", "label"], "label", (4, 4, 4), pos=1, neg=0, num_samples=2)
    dataset = CacheDataset(files, Compose([*_loading(), crop]), progress=False, num_workers=1)

    def epoch() -> torch.Tensor:
        dataset.transform.set_random_state(0)
        loader = DataLoader(dataset, batch_size=3, num_workers=2, generator=torch.Generator().manual_seed(0))
        (batch,) = loader
        assert batch["label"].shape == batch["image"].shape == (6, 1, 4, 4, 4)
        assert (batch["label"].flatten(1).sum(1) > 0).all()
        return batch["image"].as_tensor()

    assert torch.equal(epoch(), epoch())


def test_tables_from_file_to_loader(files):
    steps = [*_loading(), MeasureInstancesd("label", "table", image_key="image")]
    loader = DataLoader(CacheDataset(files, Compose(steps), progress=False), num_workers=2, collate_fn=no_collation)
    tables = [batch[0]["table"] for batch in loader]
    assert len(tables) == 3
    assert all(row["volume_mm3"] == pytest.approx(4.5 * row["voxels"]) for table in tables for row in table)
    assert all(row["max_intensity"] >= row["mean_intensity"] for table in tables for row in table)


def test_label_once_then_everything_reads_the_map(files, speckle):
    steps = [
        *_loading(),
        LabelInstancesd("label"),
        FilterInstancesd("label", min_voxels=2, is_instances=True),
        InstanceCentersd("label", is_instances=True, output_keys="centers"),
        InstanceWeightMapd("label", is_instances=True, output_keys="weights"),
        RandFlipd(["image", "label", "centers", "weights"], prob=0.5),
        RandCropByInstanced(
            ["image", "label", "centers", "weights"], "label", (4, 4, 4), num_samples=2, is_instances=True
        ),
    ]
    dataset = CacheDataset(files, Compose(steps).set_random_state(0), progress=False)
    batch = next(iter(DataLoader(dataset, batch_size=2, num_workers=2)))
    assert {key: batch[key].shape for key in ("image", "label", "centers", "weights")} == dict.fromkeys(
        ("image", "label", "centers", "weights"), (4, 1, 4, 4, 4)
    )
    assert (batch["weights"][batch["label"] == 0] == 1).all()
    assert batch["weights"][batch["label"] > 0].unique().numel() > 1


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("transform", ARRAY, ids=NAMES)
def test_two_and_three_dimensions_in_any_form(transform, dims, speckle):
    mask = speckle if dims == 3 else speckle[:, :, :, 3]
    expected = transform(MetaTensor(torch.from_numpy(mask), affine=torch.from_numpy(AFFINE)))
    assert expected.shape == mask.shape
    if transform in (ARRAY[1], ARRAY[3], ARRAY[5], ARRAY[6]):
        # what a plain array cannot say
        transform = copy.copy(transform)
        transform.spacing_mm = (1, 1.5, 3)[:dims]
    np.testing.assert_array_equal(transform(mask), expected.numpy())
    np.testing.assert_array_equal(transform(torch.from_numpy(mask)), expected.numpy())


@pytest.mark.parametrize("transform", ARRAY, ids=NAMES)
def test_metadata_and_history_are_kept_and_not_shared(transform, speckle):
    meta = {"filename_or_obj": "a.nii"}
    mask = Flip(0)(MetaTensor(torch.from_numpy(speckle), torch.from_numpy(AFFINE), meta=meta))
    out = transform(mask)
    assert torch.equal(out.affine, mask.affine)
    assert out.meta["filename_or_obj"] == "a.nii"
    assert [step["class"] for step in out.applied_operations] == ["Flip"]
    cropped = SpatialCropd("a", roi_start=(0, 0, 0), roi_end=(2, 2, 2))({"a": out})["a"]
    assert len(cropped.applied_operations) == 2
    assert len(mask.applied_operations) == 1
    set_track_meta(False)
    try:
        assert type(transform(mask)) is torch.Tensor
    finally:
        set_track_meta(True)


@pytest.mark.parametrize("transform", [*ARRAY, *DICTIONARY], ids=[*NAMES, *(f"{name}d" for name in NAMES)])
def test_input_is_left_as_it_is_and_pickling_changes_nothing(transform, speckle):
    mask = MetaTensor(torch.from_numpy(speckle), affine=torch.from_numpy(AFFINE))
    before = mask.clone()
    data = {"label": mask} if hasattr(transform, "keys") else mask
    out, again = transform(data), pickle.loads(pickle.dumps(transform))(data)
    if isinstance(data, dict):
        assert data["label"] is mask
        out, again = out["label"], again["label"]
    assert torch.equal(again, out)
    assert torch.equal(mask, before)
    assert mask.dtype == torch.uint8


def test_random_crops_survive_pickling_with_their_state(speckle):
    crop = RandCropByInstanced("label", "label", 3, num_samples=5).set_random_state(3)
    copy = pickle.loads(pickle.dumps(crop))
    data = {"label": MetaTensor(torch.from_numpy(speckle[:1]))}
    assert [one["label"].meta["crop_center"] for one in copy(data)] == [
        one["label"].meta["crop_center"] for one in crop(data)
    ]


@pytest.mark.parametrize(("array", "dictionary"), PAIRS)
def test_dictionary_version_misses_no_option(array, dictionary):
    options = inspect.signature(array).parameters
    of_dictionary = inspect.signature(dictionary).parameters
    own = {"keys", "allow_missing_keys", "output_keys", "image_key", "label_key"}
    assert [name for name in of_dictionary if name not in own] == list(options)
    assert all(of_dictionary[name].default == options[name].default for name in options)
    assert dictionary.backend == array.backend == [TransformBackends.TORCH]
    name = array.__name__
    assert getattr(transforms, f"{name}D") is getattr(transforms, f"{name}Dict") is dictionary
    assert {name, f"{name}d", f"{name}D", f"{name}Dict"} <= set(transforms.__all__)


OPTIONS = [
    (LabelInstances, LabelInstancesd, {"connectivity": 1, "ignore_label": 3}),
    (FilterInstances, FilterInstancesd, {"min_voxels": 2, "keep_largest": 1, "connectivity": 1}),
    (FilterInstances, FilterInstancesd, {"max_voxels": 40, "remove_border": True}),
    (
        FilterInstances,
        FilterInstancesd,
        {"min_volume_mm3": 7.0, "max_volume_mm3": 60.0, "spacing_mm": (1, 2, 1), "is_instances": True},
    ),
    (InstanceCenters, InstanceCentersd, {"mode": "box", "radius": 1, "connectivity": 1}),
    (
        InstanceCenters,
        InstanceCentersd,
        {"mode": "gaussian", "sigma_mm": 1.5, "spacing_mm": (1, 2, 1), "is_instances": True},
    ),
    (InstanceCenters, InstanceCentersd, {"mode": "gaussian", "sigma_voxels": 1.5}),
    (InstanceWeightMap, InstanceWeightMapd, {"background_weight": 0.3, "connectivity": 1}),
    (InstanceWeightMap, InstanceWeightMapd, {"background_weight": None, "is_instances": True}),
    (InstanceWeightMap, InstanceWeightMapd, {"mode": "border", "w0": 2.0, "sigma_mm": 1.5, "spacing_mm": (1, 2, 1)}),
]


@pytest.mark.parametrize(("array", "dictionary", "options"), OPTIONS)
def test_dictionary_version_passes_every_option_on(array, dictionary, options, speckle):
    transform = dictionary(["a", "b", "absent"], **options, allow_missing_keys=True)
    data = {"a": speckle, "b": speckle[:, ::-1], "image": "untouched"}
    out = transform(data)
    np.testing.assert_array_equal(out["a"], array(**options)(speckle))
    np.testing.assert_array_equal(out["b"], array(**options)(speckle[:, ::-1]))
    assert vars(transform.transform) == vars(array(**options))
    assert (out["a"] != array()(speckle)).any()
    assert list(out) == ["a", "b", "image"]
    assert data["a"] is speckle


@pytest.mark.parametrize("dictionary", [InstanceCentersd, InstanceWeightMapd])
def test_output_keys(dictionary, speckle):
    data = {"a": speckle, "b": speckle[:, ::-1]}
    out = dictionary(["a", "b"], output_keys=["c", "d"])(data)
    plain = dictionary(["a", "b"])(data)
    assert list(out) == ["a", "b", "c", "d"]
    assert out["a"] is speckle
    np.testing.assert_array_equal(out["c"], plain["a"])
    np.testing.assert_array_equal(out["d"], plain["b"])
    # a result under the key of the next mask does not become its input
    swapped = dictionary(["a", "b"], output_keys=["b", "a"])(data)
    np.testing.assert_array_equal(swapped["a"], plain["b"])
    with pytest.raises(ValueError, match=r"Expected `output_keys` .* \('a', 'b'\), but got 'c'"):
        dictionary(["a", "b"], output_keys="c")


def test_tables_by_key(speckle):
    data = {"a": speckle, "image": speckle.astype(np.float32) * 3}
    out = MeasureInstancesd("a", "table", image_key="image", connectivity=1)(data)
    assert out["table"] == MeasureInstances(connectivity=1)(speckle, data["image"])
    assert out["a"] is speckle
    assert MeasureInstancesd("a", "table")(data)["table"] == MeasureInstances()(speckle)
    labelled = LabelInstancesd("a")(data)
    expected = MeasureInstances(is_instances=True)(labelled["a"])
    assert MeasureInstancesd("a", "table", is_instances=True)(labelled)["table"] == expected


@pytest.mark.parametrize("transform", [*DICTIONARY, MeasureInstancesd("label", "table")])
def test_missing_key_is_refused(transform):
    with pytest.raises(KeyError, match="label"):
        transform({"image": np.zeros((1, 2, 2))})


def test_map_of_a_copied_item_leaves_the_mask(speckle):
    out = Compose([CopyItemsd("label", names="map"), LabelInstancesd("map")])({"label": torch.from_numpy(speckle)})
    assert out["label"].max() == 1
    assert out["map"].max() > 1
