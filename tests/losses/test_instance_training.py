"""InstanceLoss where it is used: MONAI's trainer and bundle configurations."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss, TverskyLoss

from monai_instance_loss.losses import InstanceLoss, InstanceLossTerms


@pytest.mark.parametrize(("conv", "shape"), [(torch.nn.Conv2d, (2, 1, 12, 13)), (torch.nn.Conv3d, (2, 1, 8, 9, 7))])
@pytest.mark.parametrize(
    "options", [{}, {"weights": {"center": 1, "false": 1, "missed": 1, "proximity": 0.1}}], ids=str
)
def test_supervised_trainer(conv, shape, options):
    torch.manual_seed(0)
    net = conv(1, 1, 3, padding=1)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    losses = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.randn(shape), "label": (torch.rand(shape) > 0.8).float()} for _ in range(2)],
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        loss_function=InstanceLoss(sigmoid=True, **options),
        decollate=False,
    )
    trainer.add_event_handler("ITERATION_COMPLETED", lambda engine: losses.append(engine.state.output["loss"]))
    trainer.run()
    assert len(losses) == 2
    assert all(loss.isfinite() for loss in losses)
    assert all(not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))


def test_bundle_configuration(soft_batch):
    parser = ConfigParser(
        {
            "loss": {
                "_target_": "monai_instance_loss.losses.InstanceLoss",
                "softmax": True,
                "to_onehot_y": True,
                "include_background": False,
                "pixel_loss": {"_target_": "DiceCELoss", "softmax": True, "to_onehot_y": True},
                "instance_loss": {"_target_": "TverskyLoss", "alpha": 0.7, "beta": 0.3},
                "weights": {"center": 0.5, "missed": 1},
                "threshold": 0.25,
                "average_over": "sample",
            }
        }
    )
    loss = parser.get_parsed_content("loss")
    expected = InstanceLoss(
        softmax=True,
        to_onehot_y=True,
        include_background=False,
        pixel_loss=DiceCELoss(softmax=True, to_onehot_y=True),
        instance_loss=TverskyLoss(alpha=0.7, beta=0.3),
        weights={"center": 0.5, "missed": 1},
        threshold=0.25,
        average_over="sample",
    )
    assert type(loss) is InstanceLoss
    logits, target = soft_batch((2, 2, 12, 12), 1)
    assert torch.equal(loss(logits, target[:, 1:]), expected(logits, target[:, 1:]))


def test_terms_come_in_the_order_of_the_published_code():
    assert InstanceLossTerms._fields == (
        "pixel",
        "instance",
        "instance_pred",
        "center",
        "false",
        "missed",
        "proximity",
    )
    terms = InstanceLoss().terms(torch.rand(1, 1, 5, 5, requires_grad=True), torch.ones(1, 1, 5, 5))
    assert all(term.shape == () and term.requires_grad for term in terms)


def test_training_drops_a_false_lesion_and_finds_a_missed_one_from_logits():
    target = torch.zeros(1, 1, 20, 20)
    target[0, 0, 3:6, 3:7] = 1
    logits = torch.full((1, 1, 20, 20), -4.0)
    logits[0, 0, 12:16, 12:15] = 3
    logits.requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.5)
    loss = InstanceLoss(sigmoid=True)
    for _ in range(30):
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()
    assert torch.equal(logits.detach() > 0, target > 0)
