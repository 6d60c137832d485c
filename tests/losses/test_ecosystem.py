"""The instance losses where MONAI users put them: compiled, distributed, in threads, in half precision, in configs."""

from __future__ import annotations

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from monai.bundle import ConfigParser
from torch.nn.parallel import DistributedDataParallel

from monai_instance_loss import losses

NAMES = ["InstanceLoss", "InstanceCenterLoss", "ICILoss", "SoftInstanceF1Loss", "BlobLoss", "CCLoss", "BiCCLoss"]


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Conv2d(1, 1, 3, padding=1)


def data(seed: int = 0, samples: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(samples, 1, 16, 17, generator=generator)
    return images, (torch.nn.functional.avg_pool2d(images, 3, 1, 1) > 0.6).float()


# dynamo warns of the cache at the break, and looks at every attribute of what crosses it
@pytest.mark.filterwarnings("default:::torch")
# one of each base
@pytest.mark.parametrize("name", ["InstanceLoss", "SoftInstanceF1Loss", "BiCCLoss"])
def test_compiles_with_the_model_in_one_break(name):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, loss = network(), getattr(losses, name)(sigmoid=True)

    def step(image, target):
        return loss(2 * model(image), target)

    compiled = torch.compile(step, backend="aot_eager")
    breaks = []
    for seed in range(4):
        image, target = data(seed)
        model.zero_grad()
        value = compiled(image, target)
        value.backward()
        grad = model.weight.grad.clone()
        model.zero_grad()
        expected = step(image, target)
        expected.backward()
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(grad, model.weight.grad)
        breaks.append(sum(torch._dynamo.utils.counters["graph_break"].values()))
    # the model on the one side, and nothing compiled again for another target
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
    # the first call makes what the later ones go through
    assert breaks[1:] == breaks[1:2] * 3


def test_torchs_compiler_is_not_imported_with_the_package():
    program = "import sys, monai_instance_loss.losses; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_threads_and_replicas_share_no_state(name):
    # DataParallel runs replicas of a loss inside a model in threads
    loss = getattr(losses, name)(sigmoid=True)
    # what a call leaves behind is the terms of one of the calls, whichever was last
    changing = ("_modules", "last_terms")
    before = copy.deepcopy({key: value for key, value in vars(loss).items() if key not in changing})
    batches = [data(seed) for seed in range(6)]
    expected = [loss(4 * image - 2, target) for image, target in batches]
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda batch: loss(4 * batch[0] - 2, batch[1]), batches * 3))
    assert all(torch.equal(value, wanted) for value, wanted in zip(values, expected * 3, strict=True))
    after = {key: value for key, value in vars(loss).items() if key not in changing}
    assert repr(before) == repr(after)
    last = sum(loss.weights[name] * float(term) for name, term in loss.last_terms.items())
    assert any(last == pytest.approx(float(value), rel=1e-5) for value in expected)


@pytest.mark.parametrize("name", NAMES)
def test_autocast(name):
    image, target = data()
    model, loss = network(), getattr(losses, name)(sigmoid=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(image)
        value = loss(logits, target)
    assert logits.dtype == torch.bfloat16
    assert value.dtype == torch.float32
    value.backward()
    assert model.weight.grad.isfinite().all()
    torch.testing.assert_close(value, loss(logits.float(), target), rtol=1e-5, atol=1e-6)


CONFIG = """
dice:
  _target_: monai.losses.DiceLoss
  squared_pred: true
focal:
  _target_: monai.losses.DiceFocalLoss
  sigmoid: true
loss:
  _target_: monai_instance_loss.losses.{name}
  sigmoid: true
  pixel_loss: "@focal"
  {criterion}
  weights: {{pixel: 0.5}}
  target_is_instances: false
"""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_config_round_trip(name, suffix, tmp_path):
    criterion = "" if name == "SoftInstanceF1Loss" else 'instance_loss: "@dice"'
    (tmp_path / "loss.yaml").write_text(CONFIG.format(name=name, criterion=criterion))
    config = ConfigParser.load_config_file(tmp_path / "loss.yaml")
    ConfigParser.export_config_file(config, str(tmp_path / f"again.{suffix}"), fmt=suffix)
    image, target = data()
    first, second = (
        ConfigParser(ConfigParser.load_config_file(tmp_path / file)).get_parsed_content("loss")
        for file in ("loss.yaml", f"again.{suffix}")
    )
    assert repr(first) == repr(second)
    assert "DiceFocalLoss" in repr(first)
    assert torch.equal(first(4 * image - 2, target), second(4 * image - 2, target))


def gradients_of(rank: int) -> dict[str, list[float]]:
    """Gradients of one rank; the second half of the batch, the second rank's, has no lesion."""
    return {name: distributed_gradient(name, *halves()[rank]) for name in NAMES}


def distributed_gradient(name: str, image: torch.Tensor, target: torch.Tensor) -> list[float]:
    # a model that outlives its process group waits for it for ever
    model = DistributedDataParallel(network())
    getattr(losses, name)(sigmoid=True, **pixel(name))(2 * model(image), target).backward()
    return model.module.weight.grad.flatten().tolist()


def halves() -> list[tuple[torch.Tensor, torch.Tensor]]:
    image, target = data()
    target[2:] = 0
    return [(image[:2], target[:2]), (image[2:], target[2:])]


def pixel(name: str) -> dict:
    return {"weights": {"pixel": 1}} if name == "SoftInstanceF1Loss" else {}


def test_two_ranks_have_the_mean_gradient(two_ranks):
    first, second = two_ranks(__file__, "gradients_of")
    assert first == second
    for name in NAMES:
        grads = []
        for image, target in halves():
            model = network()
            getattr(losses, name)(sigmoid=True, **pixel(name))(2 * model(image), target).backward()
            grads.append(model.weight.grad.flatten())
        torch.testing.assert_close(torch.tensor(first[name]), (grads[0] + grads[1]) / 2, rtol=1e-5, atol=1e-7)
        assert any(first[name])
