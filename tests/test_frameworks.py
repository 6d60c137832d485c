"""Losses and metrics where people train without MONAI's engines: a plain loop, and a LightningModule."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet

from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.metrics import InstanceF1Metric, MissedInstancesMetric


@pytest.fixture(scope="module")
def samples():
    """Images (1, 24, 24) with two or three bright lesions in noise, and their masks."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for index in range(8):
        mask = torch.zeros(1, 24, 24)
        for row, column in [(3, 4), (14, 5), (9, 17)][: 2 + index % 2]:
            mask[0, row : row + 3, column : column + 3] = 1
        found.append((2 * mask + 0.5 * torch.randn(1, 24, 24, generator=generator), mask))
    return found


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,))


def test_a_plain_loop(samples):
    net, loss, f1 = network(), InstanceLoss(sigmoid=True), InstanceF1Metric()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    loader = torch.utils.data.DataLoader(samples, batch_size=4)
    values = []
    for _ in range(20):
        for image, mask in loader:
            optimizer.zero_grad()
            value = loss(net(image), mask)
            value.backward()
            optimizer.step()
            values.append(float(value.detach()))
    with torch.no_grad():
        for image, mask in loader:
            f1(net(image) > 0, mask)
    assert values[-1] < 0.7 * values[0]
    # every lesion is 3 x 3 and twice as bright as noise is wide: most are found
    assert f1.aggregate().item() > 0.8


def test_a_metric_is_called_a_batch_and_aggregated_and_reset_an_epoch():
    # the life of a torchmetrics Metric: forward, compute, reset; with MONAI's name for compute
    f1, missed = InstanceF1Metric(), MissedInstancesMetric()
    y = torch.zeros(1, 1, 1, 5)
    y[..., [0, 2]] = 1
    for y_pred, expected_f1, expected_missed in ((y, 1.0, 0.0), (y * torch.tensor([1.0, 0, 0, 0, 0]), 2 / 3, 1.0)):
        for metric in (f1, missed):
            metric(y_pred, y)
        assert f1.aggregate().item() == pytest.approx(expected_f1)
        assert missed.aggregate().item() == expected_missed
        for metric in (f1, missed):
            metric.reset()


# of Lightning and what it imports
@pytest.mark.filterwarnings("ignore")
def test_a_lightning_module(samples, tmp_path):
    lightning = pytest.importorskip("lightning")

    class Segmenter(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.loss, self.f1 = network(), InstanceLoss(sigmoid=True), InstanceF1Metric()
            self.values = []

        def training_step(self, batch, index):
            image, mask = batch
            value = self.loss(self.net(image), mask)
            # the terms that the loss computed, for the progress bar and the logger
            self.log_dict({f"train/{name}": term for name, term in self.loss.last_terms.items()})
            self.values.append(float(value.detach()))
            return value

        def validation_step(self, batch, index):
            image, mask = batch
            self.f1(self.net(image) > 0, mask)

        def on_validation_epoch_end(self):
            self.log("val/lesion_f1", self.f1.aggregate())
            self.f1.reset()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.02)

    loader = torch.utils.data.DataLoader(samples, batch_size=4)
    trainer = lightning.Trainer(
        max_epochs=20,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=20,
        default_root_dir=tmp_path,
    )
    module = Segmenter()
    trainer.fit(module, loader, loader)
    logged = trainer.callback_metrics
    assert module.values[-1] < 0.7 * module.values[0]
    assert logged["val/lesion_f1"].item() > 0.8
    assert {"train/pixel", "train/instance", "train/instance_pred"} <= set(logged)
