"""Every loss that the package exports keeps the contract of losses, made from a config as MONAI makes it."""

from __future__ import annotations

import inspect

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.losses import DeepSupervisionLoss

from monai_instance_loss import losses
from monai_instance_loss.losses import pixel
from monai_instance_loss.losses.terms import TermsLoss

CHECKS = [
    "finite_with_graph",
    "zero_for_no_samples",
    "half_is_computed_in_single",
    "nan_is_seen",
    "bad_calls_name_the_argument",
    "bad_options_name_the_argument",
    "copies_and_keeps_its_arguments",
    "trains",
    "gradient_is_that_of_differences",
]


def exported(module, base):
    """Names of the module's losses that can be made without arguments."""
    found = {name: getattr(module, name) for name in module.__all__}
    return sorted(
        name
        for name, kind in found.items()
        if isinstance(kind, type)
        and issubclass(kind, base)
        and not inspect.isabstract(kind)
        and name != "CompoundRegionLoss"
    )


INSTANCE = [f"monai_instance_loss.losses.{name}" for name in exported(losses, TermsLoss)]
PIXEL = [f"monai_instance_loss.losses.pixel.{name}" for name in exported(pixel, losses.ImageLoss)]


def maker(target):
    def make(**options):
        config = yaml.safe_dump({"loss": {"_target_": target, **options}})
        return ConfigParser(yaml.safe_load(config)).get_parsed_content("loss")

    return make


def test_losses_are_found():
    assert len(INSTANCE) >= 7
    assert len(PIXEL) >= 20


def test_every_check_is_run(contract):
    assert list(contract.CONTRACT) == CHECKS


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", INSTANCE + PIXEL)
def test_keeps_the_contract(contract, name, check):
    contract.keep(check, maker(name))


@pytest.mark.parametrize("name", INSTANCE)
def test_deep_supervision(contract, name):
    logits, target = contract.scene((2, 1, 16, 16))
    levels = [logits, torch.nn.functional.avg_pool2d(logits, 2)]
    loss = maker(name)(sigmoid=True)
    small = torch.nn.functional.interpolate(target, scale_factor=0.5, mode="nearest-exact")
    expected = loss(levels[0], target) + 0.5 * loss(levels[1], small)
    torch.testing.assert_close(DeepSupervisionLoss(loss)(levels, target), expected)
