"""A loss from a file: what the data set decides is filled in, what the file says stays."""

from __future__ import annotations

import monai.losses
import pytest

from monai_instance_loss.losses import CCLoss, InstanceLoss
from monai_instance_loss.losses.pixel import TverskyRegionLoss
from monai_instance_loss.nnunet import Labels, OwnLoss, loss_from_yaml

FLAGS = {**Labels(ignore_label=2).flags, "pixel_loss": OwnLoss(lambda input, target: input.sum(), Labels())}


def written(folder, text):
    path = folder / "loss.yaml"
    path.write_text(text)
    return path


def test_what_the_file_leaves_out_comes_from_the_data_set(tmp_path):
    path = written(tmp_path, "loss:\n  _target_: monai_instance_loss.losses.CCLoss\n  weights: {instance: 0.5}\n")
    loss = loss_from_yaml(path, {**FLAGS, "spacing_mm": (3.0, 1.0, 1.0), "batch": True})
    assert isinstance(loss, CCLoss)
    assert loss.spacing_mm == (3.0, 1.0, 1.0)
    assert loss.weights == {"pixel": 1.0, "instance": 0.5}
    assert (loss.inputs.softmax, loss.inputs.to_onehot_y, loss.inputs.ignore_index) == (True, True, 2)
    assert loss.pixel_loss is FLAGS["pixel_loss"]


def test_what_the_file_says_stays(tmp_path):
    text = """
    own: {_target_: monai.losses.DiceLoss, softmax: true, to_onehot_y: true}
    loss:
      _target_: monai_instance_loss.losses.InstanceLoss
      include_background: true
      pixel_loss: '@own'
    """
    loss = loss_from_yaml(written(tmp_path, text), FLAGS)
    assert isinstance(loss, InstanceLoss)
    assert loss.inputs.include_background
    assert isinstance(loss.pixel_loss, monai.losses.DiceLoss)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("DiceLoss", monai.losses.DiceLoss), ("monai_instance_loss.losses.pixel.TverskyRegionLoss", TverskyRegionLoss)],
)
def test_a_loss_of_any_package(tmp_path, name, kind):
    loss = loss_from_yaml(written(tmp_path, f"loss: {{_target_: {name}}}"), Labels(regions=True).flags)
    assert isinstance(loss, kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losses: 1", r"Expected .*loss.yaml to have a component `loss` with a `_target_`, but got none"),
        ("loss: 1", r"Expected .*loss.yaml to have a component `loss` with a `_target_`, but got none"),
        (
            "loss: {_target_: torch.nn.BCEWithLogitsLoss}",
            "Expected the loss to take `ignore_index`, .* but got torch.nn",
        ),
        ("loss: {_target_: math.nope}", "Expected the loss to take `ignore_index`"),
    ],
)
def test_files_that_are_none(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        loss_from_yaml(written(tmp_path, text), FLAGS)


def test_something_else_than_a_loss(tmp_path):
    with pytest.raises(ValueError, match=r"Expected `loss` of .*loss.yaml to be a torch.nn.Module, but got fractions"):
        loss_from_yaml(written(tmp_path, "loss: {_target_: fractions.Fraction}"), {})


def test_a_missing_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Expected `path` to be a file with a component `loss`, but got .*nope"
    ):
        loss_from_yaml(tmp_path / "nope.yaml", {})
