"""One run: a network trained with one loss from one seed, and its probabilities on validation and test cases.

What is kept is enough to score the run again, and in other ways: probabilities in steps of 1/200, so that a cut at any
multiple of 0.005 is exact, and the weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from contenders import CONTENDERS
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader, Dataset
from monai.engines import EnsembleEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import BasicUNet
from monai.transforms import (
    Activationsd,
    Compose,
    ConcatItemsd,
    CopyItemsd,
    DeleteItemsd,
    EnsureTyped,
    LabelToMaskd,
    LoadImaged,
    MeanEnsembled,
    NormalizeIntensityd,
    Orientationd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandScaleIntensityd,
    RandShiftIntensityd,
    Transform,
)
from monai.utils import set_determinism

from monai_instance_loss._whole_file import whole_file
from monai_instance_loss.metrics import InstanceConfusionMatrixMetric, Matching
from monai_instance_loss.transforms import RandCropByInstanced

STEPS = 1200
LOOK_EVERY = 100
LEARNING_RATE = 0.002
PATCH = (40, 40, 24)
LEVELS = 200
SETTINGS = {
    "network": "BasicUNet, features 8 16 32 64 64 8, FLAIR and T1",
    "steps": STEPS,
    "batch": "2 patches of 40 x 40 x 24 voxels of one case",
    "optimizer": f"AdamW, learning rate {LEARNING_RATE}, cosine",
    "checkpoint": "the last one",
    "validation curve": f"every {LOOK_EVERY} steps at 0.5, on every other validation case",
}

Cases = Sequence[Mapping[str, str]]


def train_one(row: str, seed: int, parts: Mapping[str, Cases], out: Path, origin: Mapping[str, object]) -> None:
    """Train, predict, and write ``out`` (.npz, probabilities) after its siblings (.pt, weights; .json, the curve)."""
    contender = CONTENDERS[row]
    set_determinism(seed)
    network = make_network()
    curve: list[dict[str, float]] = []
    watched = CacheDataset(parts["val"][::2], Compose(loading()), progress=False)
    start = time.perf_counter()
    trainer = make_trainer(network, contender.loss(), contender.crops, parts["train"])
    trainer.add_event_handler(Events.ITERATION_COMPLETED, look, trainer, watched, curve)
    trainer.run()
    seconds = time.perf_counter() - start
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out.with_suffix(".pt")) as path:
        torch.save(network.state_dict(), path)
    report = {"row": row, "seed": seed, **origin, "training_seconds": round(seconds, 1), "curve": curve}
    save(report, predict([network], parts), out)


def join(row: str, seed: int, parts: Mapping[str, Cases], out: Path, members: Sequence[Path]) -> None:
    """Write what ``train_one`` writes, of the mean of trained members."""
    networks = [make_network() for _ in members]
    for network, member in zip(networks, members, strict=True):
        network.load_state_dict(torch.load(member, weights_only=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    save({"row": row, "seed": seed, "members": [m.parent.name for m in members]}, predict(networks, parts), out)


def save(report: Mapping[str, object], levels: Mapping[str, np.ndarray], out: Path) -> None:
    """The probabilities come last: where they are, everything is."""
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    with whole_file(out) as path, path.open("wb") as file:
        np.savez_compressed(file, **levels)


def make_network() -> torch.nn.Module:
    """The bundle's network, untrained."""
    network = BasicUNet(spatial_dims=3, in_channels=2, out_channels=1, features=(8, 16, 32, 64, 64, 8))
    # a fifth faster on one core, and the same numbers but for rounding
    return network.to(memory_format=torch.channels_last_3d)


def loading() -> list[Transform]:
    """From paths to a normalised image (2, X, Y, Z) and the challenge's labels (1, X, Y, Z), in memory."""
    return [
        LoadImaged(("flair", "t1", "wmh"), ensure_channel_first=True),
        Orientationd(("flair", "t1", "wmh"), axcodes="RAS", labels=None),
        ConcatItemsd(("flair", "t1"), name="image"),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
        DeleteItemsd(("flair", "t1")),
        EnsureTyped(("image", "wmh"), track_meta=False, dtype=torch.float32),
    ]


def load(cases: Cases) -> Dataset:
    """The cases, one at a time."""
    return Dataset(cases, Compose(loading()))


def training(crops: str) -> Compose:
    """From a loaded case to two patches. Other pathology is background in training, for every loss."""
    where = {"spatial_size": PATCH, "num_samples": 2, "pos": 3, "neg": 1}
    crop = {
        "voxels": RandCropByPosNegLabeld(("image", "label"), label_key="label", **where),
        "instances": RandCropByInstanced(("image", "label"), label_key="label", **where),
    }[crops]
    return Compose(
        [
            *loading(),
            CopyItemsd("wmh", names="label"),
            LabelToMaskd("label", select_labels=1),
            DeleteItemsd("wmh"),
            crop,
            RandFlipd(("image", "label"), prob=0.5, spatial_axis=0),
            RandScaleIntensityd("image", factors=0.1, prob=0.5, channel_wise=True),
            RandShiftIntensityd("image", offsets=0.1, prob=0.5),
            EnsureTyped(("image", "label"), track_meta=False, dtype=torch.float32),
        ]
    )


def make_trainer(network: torch.nn.Module, loss: torch.nn.Module, crops: str, cases: Cases) -> SupervisedTrainer:
    """A trainer of ``STEPS`` steps."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    dataset = CacheDataset(cases, training(crops), progress=False)
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=STEPS // len(cases),
        train_data_loader=DataLoader(dataset, batch_size=1, shuffle=True),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        train_handlers=[LrScheduleHandler(schedule, print_lr=False, epoch_level=False)],
    )


def predict(networks: Sequence[torch.nn.Module], parts: Mapping[str, Cases]) -> dict[str, np.ndarray]:
    """Mean probabilities of validation and test cases in steps of 1 / LEVELS, rounded down, uint8 (X, Y, Z)."""
    keys = [f"pred{k}" for k in range(len(networks))]
    levels = {}
    for part in ("val", "test"):
        evaluator = EnsembleEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(load(parts[part]), batch_size=1),
            pred_keys=keys,
            networks=networks,
            inferer=sliding(0.25),
            postprocessing=Compose([Activationsd(keys, sigmoid=True), MeanEnsembled(keys, output_key="pred")]),
        )
        names = iter([case["case"] for case in parts[part]])

        def keep(engine: EnsembleEvaluator, part: str = part, names: Iterator[str] = names) -> None:
            output = engine.state.output[0]
            # MeanEnsembled takes the channels of a single prediction for members
            probability = output["pred"].reshape(output["image"].shape[1:])
            levels[f"{part}/{next(names)}"] = (probability * LEVELS).floor().byte().numpy()

        evaluator.add_event_handler(Events.ITERATION_COMPLETED, keep)
        evaluator.run()
    return levels


def sliding(overlap: float) -> SlidingWindowInferer:
    """Whole images by patches."""
    return SlidingWindowInferer(PATCH, sw_batch_size=8, overlap=overlap, mode="gaussian")


def look(trainer: SupervisedTrainer, watched: Dataset, curve: list[dict[str, float]]) -> None:
    """Every ``LOOK_EVERY`` steps, append the scores on the watched validation cases at a cut of 0.5."""
    step = trainer.state.iteration
    if step % LOOK_EVERY:
        return
    one = InstanceConfusionMatrixMetric(
        metric_name=("f1", "fn", "fp"), matching=Matching("iou", 0.1, "max_cardinality")
    )
    trainer.network.eval()
    for item in watched:
        with torch.inference_mode():
            probability = sliding(0.0)(item["image"][None], trainer.network)[0, 0].sigmoid()
        one((probability >= 0.5).masked_fill(item["wmh"][0] == 2, False)[None, None], (item["wmh"] == 1)[None])
    trainer.network.train()
    f1, missed, false = (float(score) for score in one.aggregate())
    loss = float(trainer.state.output[0]["loss"])
    curve.append({"step": step, "f1": round(f1, 4), "missed": missed, "false": false, "loss": round(loss, 4)})
