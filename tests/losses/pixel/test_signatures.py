"""Arguments of pixel losses: options by keyword only, and an unknown one is blamed on the loss that was called."""

from __future__ import annotations

import inspect

import pytest

from monai_instance_loss.losses import ImageLoss, RegionLoss, pixel
from monai_instance_loss.losses.engine.region import InputKeywords

LOSSES = {
    name: loss
    for name, loss in vars(pixel).items()
    if name in pixel.__all__ and isinstance(loss, type) and issubclass(loss, ImageLoss)
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def required(loss):
    return [pixel.DiceRegionLoss()] if loss is pixel.CompoundRegionLoss else None


def make(loss, *args, **kwargs):
    return loss(*args, **kwargs) if required(loss) is None else loss(required(loss), *args, **kwargs)


@every_loss
def test_options_are_keyword_only(name):
    with pytest.raises(TypeError, match=r"positional argument"):
        make(LOSSES[name], True)


@every_loss
@pytest.mark.parametrize("options", [{"sigmod": True}, {"sigmoid": True, "include_backgroud": False}])
def test_a_typo_is_blamed_on_the_loss_that_was_called(name, options):
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument '{list(options)[-1]}'"):
        make(LOSSES[name], **options)


def test_a_loss_without_arguments_of_its_own_names_itself():
    class Mine(RegionLoss):
        def score(self, sums):
            return sums.off["p"]

    with pytest.raises(TypeError, match=r"^Mine\(\) got an unexpected keyword argument 'sigmod'"):
        Mine(sigmod=True)


def test_the_keywords_are_those_of_every_image_loss():
    parameters = inspect.signature(ImageLoss).parameters.values()
    named = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    assert named == set(InputKeywords.__annotations__)
