"""The trainers in an unmodified nnU-Net: found by name, and their loss and counts on fixed data."""

from __future__ import annotations

import ast
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

import monai_instance_loss
from monai_instance_loss.losses import BiCCLoss, BlobLoss, CCLoss, InstanceLoss, SoftInstanceF1Loss
from monai_instance_loss.metrics import InstanceConfusionMatrixMetric
from monai_instance_loss.nnunet import LevelsLoss, shrink_target

FOLDER = Path(monai_instance_loss.__file__).parent / "nnunet" / "trainers"
# of three levels nnU-Net weighs the first two, 1 and 1/2, together 1
WEIGHTS = (2 / 3, 1 / 3)
SPACINGS = [(3.0, 1.0, 1.0), (3.0, 2.0, 2.0)]
DIRECT = {
    "nnUNetTrainerInstanceLoss": lambda spacing, **flags: InstanceLoss(**flags),
    "nnUNetTrainerBlobLoss": lambda spacing, **flags: BlobLoss(**flags),
    "nnUNetTrainerCCLoss": lambda spacing, **flags: CCLoss(**flags, spacing_mm=spacing),
    "nnUNetTrainerBiCCLoss": lambda spacing, **flags: BiCCLoss(**flags, spacing_mm=spacing),
    "nnUNetTrainerSoftInstanceF1": lambda spacing, **flags: SoftInstanceF1Loss(**flags, weights={"pixel": 1}),
}
LABELS = {
    "plain": {"background": 0, "lesion": 1},
    "ignore": {"background": 0, "lesion": 1, "ignore": 2},
    "regions": {"background": 0, "whole": [1, 2], "core": [2]},
    "regions_ignore": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
}


def test_a_trainer_class_is_under_40_lines():
    classes = [
        node for node in ast.parse((FOLDER / "lesion_trainers.py").read_text()).body if isinstance(node, ast.ClassDef)
    ]
    assert {node.name for node in classes} == {*DIRECT, "nnUNetTrainerYAMLLoss"}
    assert all(node.end_lineno - node.lineno + 1 < 40 for node in classes)


def architecture(dims: int) -> dict[str, Any]:
    strides = [[1] * dims, [1, 2, 2][-dims:], [2] * dims, [2] * dims]
    arguments = {
        "n_stages": 4,
        "features_per_stage": [4, 4, 4, 4],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [[3] * dims] * 4,
        "strides": strides,
        "n_conv_per_stage": [1] * 4,
        "n_conv_per_stage_decoder": [1] * 3,
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def plans(batch_dice: bool) -> dict[str, Any]:
    configurations = {
        name: {
            "data_identifier": name,
            "batch_size": 2,
            "patch_size": patch,
            "spacing": spacing,
            "normalization_schemes": ["ZScoreNormalization"],
            "batch_dice": batch_dice,
            "architecture": architecture(len(patch)),
        }
        for name, patch, spacing in (
            ("2d", [32, 32], [1.0, 1.0]),
            ("3d_fullres", [8, 16, 16], [3.0, 1.0, 1.0]),
        )
    }
    return {
        "continue_training": False,
        "dataset_name": "Dataset001_WMH",
        "plans_name": "nnUNetPlans",
        "configurations": configurations,
        "label_manager": "LabelManager",
    }


def make(folder: Path, name: str, labels: str = "plain", configuration: str = "3d_fullres", batch_dice: bool = False):
    """A trainer that nnU-Net finds by its name, in a folder of results."""
    os.environ.update(
        nnUNet_raw=str(folder / "raw"),
        nnUNet_preprocessed=str(folder / "preprocessed"),
        nnUNet_results=str(folder / "results"),
        nnUNet_extTrainer=str(FOLDER),
        nnUNet_compile="false",
    )
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    cases = folder / "preprocessed" / "Dataset001_WMH" / configuration
    cases.mkdir(parents=True, exist_ok=True)
    # nnU-Net reads the format of the data off its files
    (cases / "case.npz").touch()
    description = {
        "channel_names": {"0": "FLAIR"},
        "labels": LABELS[labels],
        "regions_class_order": [1, 2],
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    torch.manual_seed(0)
    kind = recursive_find_trainer_class_by_name(name)
    return kind(plans(batch_dice), configuration, 0, description, torch.device("cpu"))


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    pytest.importorskip("nnunetv2")
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer", "nnUNet_compile"):
        monkeypatch.setenv(variable, "")
    with warnings.catch_warnings():
        # of nnU-Net and what it imports
        warnings.simplefilter("ignore")
        yield lambda *args, **options: make(tmp_path, *args, **options)


def batch_of(trainer, seed=0):
    """Images and targets as nnU-Net's loader gives them."""
    from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
    from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform

    generator = torch.Generator().manual_seed(seed)
    patch = trainer.configuration_manager.patch_size
    drawn = torch.rand(2, 1, *patch, generator=generator)
    highest = 2 if trainer.label_manager.has_regions else 1
    target = (drawn > 0.97).short() * highest
    target[drawn > 0.99] = 1
    if trainer.label_manager.has_ignore_label:
        target[:, :, :3] = trainer.label_manager.ignore_label
    if trainer.label_manager.has_regions:
        ignore = [trainer.label_manager.ignore_label] if trainer.label_manager.has_ignore_label else []
        regions = ConvertSegmentationToRegionsTransform([*trainer.label_manager.foreground_regions, *ignore])
        target = torch.stack([regions(segmentation=each)["segmentation"] for each in target])
    if trainer.enable_deep_supervision:
        shrink = DownsampleSegForDSTransform(trainer._get_deep_supervision_scales())
        levels = [shrink(segmentation=each)["segmentation"] for each in target]
        target = [torch.stack(level) for level in zip(*levels, strict=True)]
    return {"data": torch.randn(2, 1, *patch, generator=generator), "target": target}


@pytest.mark.parametrize("name", DIRECT)
def test_the_loss_at_epoch_0_is_the_class_called_directly_at_every_level(trainer, name):
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    found = trainer(name)
    found.initialize()
    batch = batch_of(found)
    found.network.train()
    with torch.no_grad():
        outputs = found.network(batch["data"])
    assert len(outputs) == 3
    own = DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    flags = {"include_background": False, "to_onehot_y": True, "softmax": True, "pixel_loss": own}
    parts = shrink_target(batch["target"][0], [level.shape[2:] for level in outputs[:2]])
    direct = [
        DIRECT[name](spacing, **flags)(level, part)
        for spacing, level, part in zip(SPACINGS, outputs[:2], parts, strict=True)
    ]
    expected = sum(weight * value for weight, value in zip(WEIGHTS, direct, strict=True))
    np.testing.assert_allclose(found.train_step(batch)["loss"], float(expected), rtol=1e-5)
    # more than nnU-Net's own loss, which is all that a trainer of nnU-Net would have
    alone = sum(weight * own(level, part) for weight, level, part in zip(WEIGHTS, outputs[:2], parts, strict=True))
    assert float(expected) > float(alone) + 0.1


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_every_kind_of_labels_trains_and_is_validated(trainer, labels, configuration):
    found = trainer("nnUNetTrainerInstanceLoss", labels, configuration)
    found.initialize()
    first = found.train_step(batch_of(found))["loss"]
    assert np.isfinite(first)
    for _ in range(4):
        found.network.train()
        last = found.train_step(batch_of(found))["loss"]
    assert last < first
    with torch.no_grad():
        found.on_validation_epoch_start()
        found.on_validation_epoch_end([found.validation_step(batch_of(found, seed)) for seed in range(2)])
    header, row = Path(found.output_folder, "progress_lesions.csv").read_text().splitlines()
    assert header == "epoch,lesion_f1,found,missed,false"
    assert int(row.split(",")[2]) + int(row.split(",")[3]) > 0


def test_batch_dice_reaches_the_pixel_loss(trainer):
    for batch_dice in (False, True):
        found = trainer("nnUNetTrainerCCLoss", batch_dice=batch_dice)
        assert found._build_loss().levels.loss.pixel_loss.loss.dc.batch_dice == batch_dice


def test_without_deep_supervision_there_is_one_level(trainer):
    found = trainer("nnUNetTrainerBlobLoss")
    found.enable_deep_supervision = False
    found.initialize()
    batch = batch_of(found)
    assert found.loss.weights == (1.0,)
    assert np.isfinite(found.train_step(batch)["loss"])
    with torch.no_grad():
        found.on_validation_epoch_start()
        assert np.isfinite(found.validation_step(batch)["loss"])


class Fixed(torch.nn.Module):
    """A network that has always the same to say."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, images):
        return self.outputs


def test_validation_counts_lesions_by_hand(trainer):
    found = trainer("nnUNetTrainerInstanceLoss", "ignore")
    found.initialize()
    sizes = [(8, 16, 16), (8, 8, 8), (4, 4, 4)]
    target, mask = torch.zeros(2, 1, *sizes[0], dtype=torch.int16), torch.zeros(2, *sizes[0])
    # sample 0: lesions at 5 and 10 of a row, of which one is predicted, and a false one at 14; sample 1: a false one
    # where voxels are ignored
    target[0, 0, 4, 4, [5, 10]] = 1
    mask[0, 4, 4, [5, 14]] = 1
    target[1, 0, :2] = 2
    mask[1, 1, 4, 4] = 1
    output = torch.stack([0.5 - mask, mask - 0.5], 1)
    found.network = Fixed([output, *(torch.zeros(2, 2, *size) for size in sizes[1:])])
    batch = {"data": torch.zeros(2, 1, *sizes[0]), "target": [target, *([target] * 2)]}
    with torch.no_grad():
        found.on_validation_epoch_start()
        results = [found.validation_step(batch)]
        found.on_validation_epoch_end(results)
    # one of two is found, one of two predictions is right: 2 x 1/2 x 1/2 / (1/2 + 1/2)
    rows = Path(found.output_folder, "progress_lesions.csv").read_text().splitlines()
    assert rows[1] == "0,0.5000,1,1,1"
    assert "Lesion F1 0.5000, found 1, missed 1, false 1" in Path(found.log_file).read_text()
    assert Path(found.output_folder, "progress_lesions.png").stat().st_size > 0
    # and what nnU-Net counts: voxels
    assert results[0]["tp_hard"].tolist() == [1.0]


def test_any_loss_from_a_file(trainer, monkeypatch, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("loss: {_target_: monai_instance_loss.losses.CCLoss, weights: {instance: 0.25}}")
    monkeypatch.setenv("MONAI_INSTANCE_LOSS_YAML", str(path))
    found = trainer("nnUNetTrainerYAMLLoss", "regions_ignore")
    loss = found._build_loss().levels.loss
    assert loss.weights == {"pixel": 1.0, "instance": 0.25}
    assert loss.spacing_mm == (3.0, 1.0, 1.0)
    assert loss.inputs.sigmoid
    assert Path(found.output_folder, "loss.yaml").read_text() == path.read_text()


def test_no_file_is_one_sentence(trainer, monkeypatch):
    monkeypatch.delenv("MONAI_INSTANCE_LOSS_YAML", raising=False)
    with pytest.raises(ValueError, match="Expected MONAI_INSTANCE_LOSS_YAML to name a YAML file with a `loss`"):
        trainer("nnUNetTrainerYAMLLoss")._build_loss()


def one_rank(rank: int) -> dict[str, Any]:
    """A rank of two: its loss on one sample of two, and the lesions of both ranks, three patches here and one there."""
    folder = Path(os.environ["TWO_RANKS_FOLDER"])
    found = make(folder, "nnUNetTrainerBlobLoss", batch_dice=True)
    assert found.is_ddp
    loss = found._build_loss()
    outputs, target = shared_step()
    value = loss([level[rank : rank + 1] for level in outputs], [target[rank : rank + 1]] * 3)
    found.network = torch.nn.Identity()
    found.on_validation_epoch_start()
    for _ in range(3 if rank == 0 else 1):
        found.lesion_metric(*loss.labels.masks(outputs[0][rank : rank + 1], target[rank : rank + 1]))
    voxels = {"loss": np.array(0.0), "tp_hard": np.ones(1), "fp_hard": np.ones(1), "fn_hard": np.ones(1)}
    found.on_validation_epoch_end([voxels])
    dist.barrier()
    table = Path(found.output_folder, "progress_lesions.csv").read_text()
    return {"loss": value, "weights": list(loss.weights), "ddp": loss.levels.loss.pixel_loss.loss.dc.ddp, "row": table}


def shared_step():
    generator = torch.Generator().manual_seed(3)
    sizes = [(8, 16, 16), (8, 8, 8), (4, 4, 4)]
    outputs = [torch.randn(2, 2, *size, generator=generator) for size in sizes]
    return outputs, (torch.rand(2, 1, *sizes[0], generator=generator) > 0.98).short()


def test_two_ranks_see_the_loss_and_the_lesions_of_one(trainer, two_ranks, tmp_path, monkeypatch):
    monkeypatch.setenv("TWO_RANKS_FOLDER", str(tmp_path / "ranks"))
    ranks = two_ranks(__file__, "one_rank", timeout=600)
    assert [rank["ddp"] for rank in ranks] == [True, True]
    one = trainer("nnUNetTrainerBlobLoss", batch_dice=True)._build_loss()
    outputs, target = shared_step()
    # nnU-Net gives the last level a little weight there, so that each parameter has a gradient
    assert ranks[0]["weights"] == pytest.approx([2 / 3, 1 / 3, 1e-6 / 1.5], rel=1e-5)
    expected = LevelsLoss(one.levels.loss, ranks[0]["weights"], one.labels)(outputs, [target] * 3)
    # Dice is that of all ranks on each; cross-entropy and instance terms are the rank's own, and DDP averages
    torch.testing.assert_close((ranks[0]["loss"] + ranks[1]["loss"]) / 2, expected)
    # 3 patches of sample 0 and one of sample 1
    metric = InstanceConfusionMatrixMetric(metric_name=("f1", "tp", "missed", "false"))
    for sample in (0, 0, 0, 1):
        metric(*one.labels.masks(outputs[0][sample : sample + 1], target[sample : sample + 1]))
    f1, total = metric.aggregate("pooled")[0], metric.aggregate("sum")
    row = f"0,{float(f1):.4f}," + ",".join(f"{float(count):.0f}" for count in total[1:])
    assert [rank["row"].splitlines()[1] for rank in ranks] == [row, row]
