from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import load_net_with_metadata
from monai.losses import DiceCELoss
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_instance_loss.data import dataset
from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.operating_points import OperatingPoint, apply_operating_point

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "tutorials" / "wmh_bundle" / "configs"
TINY: dict[str, Any] = {
    "cases_per_site": 1,
    "sites": ["Utrecht", "GE3T"],
    "spacing_mm": [5, 5, 6],
    "patch_size": [32, 32, 16],
    "epochs": 1,
    "device": "cpu",
    "network_def#features": [4, 4, 4, 4, 4, 4],
}
# the bundle specification's mandatory keys, and its schema's of 2024-07-25
MANDATORY = {
    "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
    "description", "authors", "copyright", "network_data_format",
}  # fmt: skip
TENSOR_KEYS = {
    "type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data",
    "channel_def",
}  # fmt: skip

METRICS = (
    "instance_f1_one_to_one", "instance_f1", "instances_merged", "instances_split", "missed_instances",
    "false_instances", "mean_dice",
)  # fmt: skip


def configs(*names: str, folder: Path = CONFIGS) -> list[str]:
    return [str(folder / f"{name}.yaml") for name in names]


def parsed(*names: str, **override: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(configs(*names))
    parser.update(override)
    return parser


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundle after one epoch, run by command from a folder that is not the bundle's."""
    root = tmp_path_factory.mktemp("bundle") / "wmh_bundle"
    # what git keeps of it, and nothing of the repository around it
    shutil.copytree(CONFIGS.parent, root, ignore=shutil.ignore_patterns("data", "models", "output"))
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(root / "configs" / "train.yaml")]
    for key, value in TINY.items():
        command += [f"--{key}", str(value)]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        command, cwd=elsewhere, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(elsewhere.iterdir())
    (root / "console.txt").write_text(done.stdout)
    return root


@pytest.fixture
def run(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`monai.bundle.run` on the copy, leaving neither search path nor log handlers behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    handlers = logging.root.handlers[:]
    yield lambda *names, **override: monai.bundle.run(
        config_file=configs(*names, folder=bundle / "configs"), logging_file=False, **(TINY | override)
    )
    logging.root.handlers[:] = handlers
    monai.utils.set_determinism(None)


def dataset_dir(bundle: Path) -> Path:
    (folder,) = (bundle / "data").iterdir()
    return folder


def assert_on_grid_of(prediction: Path, image: Path) -> None:
    written, original = nib.load(prediction), nib.load(image)
    assert written.shape == original.shape
    np.testing.assert_allclose(written.affine, original.affine, atol=1e-4)
    assert set(np.unique(written.dataobj)) <= {0, 1}
    assert written.get_data_dtype() == np.uint8


def test_metadata_has_the_mandatory_keys() -> None:
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata.keys() >= MANDATORY
    assert metadata["version"] in metadata["changelog"]
    for tensor in (
        *metadata["network_data_format"]["inputs"].values(),
        metadata["network_data_format"]["outputs"]["pred"],
    ):
        assert tensor.keys() >= TENSOR_KEYS
        assert len(tensor["channel_def"]) == tensor["num_channels"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = f"{project['name']}>={project['version']}"
    wanted = " ".join([own, *project["dependencies"], *project["optional-dependencies"]["bundle"]])
    assert project["name"] in metadata["required_packages_version"]
    for name, version in metadata["required_packages_version"].items():
        assert f"{name}>={version.removesuffix('.0')}" in wanted


def test_the_folder_carries_the_license() -> None:
    assert (CONFIGS.parent / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_monai_verifies_the_metadata(tmp_path: Path) -> None:
    # where the schema would be downloaded to: the parts of it that say something, restated
    tensor = {"type": "object", "required": sorted(TENSOR_KEYS)}
    tensors = {"type": "object", "minProperties": 1, "additionalProperties": tensor}
    schema = {
        "type": "object",
        "required": sorted(MANDATORY),
        "properties": {
            "network_data_format": {
                "required": ["inputs", "outputs"], "properties": {"inputs": tensors, "outputs": tensors}
            },
            "required_packages_version": {"additionalProperties": {"type": "string"}},
            "changelog": {"additionalProperties": {"type": "string"}},
        },
    }  # fmt: skip

    def verify(schema: dict[str, Any]) -> None:
        path = tmp_path / "schema.json"
        path.write_text(json.dumps(schema))
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        monai.bundle.verify_metadata(
            meta_file=str(CONFIGS / "metadata.json"), filepath=str(path), hash_val=checksum, hash_type="sha256"
        )

    verify(schema)
    with pytest.raises(ValueError, match="'no such key' is a required property"):
        verify(schema | {"required": ["no such key"]})


@pytest.mark.parametrize("name", ["train", "inference"])
def test_monai_verifies_what_goes_in_and_out_of_the_network(name: str) -> None:
    monai.bundle.verify_net_in_out(
        "network_def", meta_file=str(CONFIGS / "metadata.json"), config_file=configs(name), device="cpu"
    )


def test_the_network_is_exported_as_torchscript(bundle: Path, tmp_path: Path) -> None:
    features = {"network_def#features": TINY["network_def#features"]}
    monai.bundle.ckpt_export(
        "network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=configs("inference", folder=bundle / "configs"), **features,
    )  # fmt: skip
    exported, metadata, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    assert metadata["name"] == "wmh_bundle"
    assert json.loads(extra["inference.json"])["decision_threshold"] == 0.5
    network = parsed("inference", **features).get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    image = torch.rand(1, 2, 32, 32, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(exported.eval()(image), network(image))


@pytest.mark.parametrize(
    ("names", "workflow_type"),
    [(["train"], "train"), (["train", "dicece"], "train"), (["train", "evaluate"], "train"), (["inference"], "infer")],
)
def test_configs_have_the_properties_of_a_bundle(names: list[str], workflow_type: str, bundle: Path) -> None:
    override = TINY | {"bundle_root": str(bundle), "dataset_dir": str(dataset_dir(bundle))}
    override = {key: value for key, value in override.items() if key.split("#")[0] in parsed(*names)}
    workflow = ConfigWorkflow(configs(*names), logging_file=False, workflow_type=workflow_type, **override)
    workflow.parser.parse()
    workflow._is_initialized = True
    # reading the properties builds the engines, and they every component
    assert workflow.check_properties() == []


def test_inference_reads_images_as_training_does() -> None:
    train, inference = parsed("train"), parsed("inference")
    for key in ("network_def", "inferer", "patch_size", "decision_threshold", "bundle_root", "device"):
        assert inference[key] == train[key]
    unlabelled = json.loads(json.dumps(train["load_transforms"][:-1]).replace(', "wmh"', ""))
    assert inference["preprocessing"]["transforms"] == unlabelled


def test_baseline_differs_by_its_loss_only() -> None:
    ours, baseline = parsed("train").get(), parsed("train", "dicece").get()
    changed = {key for key in ours if ours[key] != baseline[key]}
    assert changed == {"loss", "ckpt_dir", "output_dir"}
    loss = parsed("train", "dicece").get_parsed_content("loss")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 8, 8, 8, generator=generator)
    instances = (torch.rand(2, 1, 8, 8, 8, generator=generator) > 0.9).int() * 3
    expected = DiceCELoss(sigmoid=True, batch=True)
    torch.testing.assert_close(loss(logits, instances), expected(logits, (instances > 0).float()))


def test_the_key_metric_is_not_met_by_merging() -> None:
    # nine lesions of one voxel: a prediction of everything is one lesion, which merges all of them
    label = torch.zeros(1, 9, 9, 9)
    label[0, 1::3, 1::3, 4] = 1
    parser = parsed("train")
    (key,) = parser["validate"]["key_metric"]
    engine = Engine(lambda engine, batch: batch)
    for name, metric in {
        **parser.get_parsed_content("validate#key_metric"),
        **parser.get_parsed_content("validate#additional_metrics"),
    }.items():
        metric.attach(engine, name)
    scores = engine.run([[{"pred": torch.ones_like(label), "label": label}]]).metrics
    assert scores.keys() == set(METRICS)
    # an IoU of 1/729 with the best of them: no pair, so 0 of 1 and 0 of 9; by touch 1 of 1 and 9 of 9
    assert scores[key] == 0
    assert scores["instance_f1"] == 1
    assert (scores["instances_merged"], scores["instances_split"]) == (1, 0)
    assert (scores["missed_instances"], scores["false_instances"]) == (0, 0)
    scores = engine.run([[{"pred": label, "label": label}]]).metrics
    assert (scores[key], scores["instances_merged"]) == (1, 0)


def test_overrides_reach_their_components() -> None:
    parser = parsed("train", epochs=3, learning_rate=0.5, spacing_mm=None, seed=7, **{"loss#threshold": 0.3})
    loss = parser.get_parsed_content("loss")
    assert isinstance(loss, InstanceLoss)
    assert loss.threshold == 0.3
    assert parser.get_parsed_content("lr_scheduler").T_max == 3
    assert parser.get_parsed_content("optimizer").defaults["lr"] == 0.5
    assert parser.get_parsed_content("dataset_dir").endswith("_nativemm_seed0")


def test_training_leaves_checkpoint_and_a_curve_a_term(bundle: Path) -> None:
    assert (bundle / "models" / "model.pt").is_file()
    events = EventAccumulator(str(bundle / "output"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    # the terms with a weight, which is what is minimised
    assert {tag for tag in tags if tag.startswith("train_loss/")} == {
        f"train_loss/{term}" for term in ("pixel", "instance", "instance_pred", "false", "missed")
    }  # fmt: skip
    assert tags >= set(METRICS)


def test_the_console_shows_the_loss_one_line_a_validation_and_what_was_written(bundle: Path) -> None:
    lines = (bundle / "console.txt").read_text().splitlines()
    # one format: a time, a level, a message
    shown = [line.split(" ", 2)[2] for line in lines if line and " INFO > " not in line and " INFO -" not in line][1:]
    assert [line.split(":")[0] for line in shown] == [
        "epoch 1/1", "epoch 1, validation", "done", "best instance_f1_one_to_one", "best model", "to resume", "curves"
    ]  # fmt: skip
    terms = r"pixel [\d.]+, 0.5 x instance [\d.]+, 0.5 x instance_pred [\d.]+, false [\d.]+, missed [\d.]+"
    assert re.fullmatch(rf"epoch 1/1: loss [\d.]+ \({terms}\), 0 s left", shown[0])
    assert [part.split(" ")[0] for part in shown[1].split(": ")[1].split(";")[0].split(", ")] == list(METRICS)
    assert shown[4:] == [
        f"best model: {bundle}/models/model.pt", f"to resume: {bundle}/models/last.pt", f"curves: {bundle}/output"
    ]  # fmt: skip


def test_a_run_that_was_killed_ends_as_one_that_was_not(bundle: Path, run: Any, tmp_path: Path) -> None:
    # killed without warning when the third of four epochs is over; epoch 2 was validated
    kill = {"_target_": "StatsHandler", "epoch_print_logger": "$lambda engine: engine.state.epoch == 3 and os.kill("
            "os.getpid(), 9)"}  # fmt: skip
    (tmp_path / "kill.json").write_text(json.dumps({"+train#handlers": [kill]}))
    options = {"epochs": 4, "val_interval": 2, "dataset_dir": str(dataset_dir(bundle))}
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run"]
    command += ["--config_file", str([*configs("train", folder=bundle / "configs"), str(tmp_path / "kill.json")])]
    for key, value in (TINY | options | trained(tmp_path / "killed")).items():
        command += [f"--{key}", str(value)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    last = tmp_path / "killed" / "models" / "last.pt"
    assert torch.load(last, weights_only=True)["trainer"]["iteration"] == 2
    # "true" is what the command line gives
    run("train", **trained(tmp_path / "killed"), **options, resume="true")
    run("train", **trained(tmp_path / "whole"), **options)
    for name in ("last.pt", "model.pt"):
        killed, whole = (
            torch.load(tmp_path / folder / "models" / name, weights_only=True) for folder in ("killed", "whole")
        )
        if name == "last.pt":
            assert killed["trainer"]["iteration"] == 4
            assert killed.pop("saver") == whole.pop("saver")
        torch.testing.assert_close(killed, whole, rtol=0, atol=0)
    assert {path.name for path in (tmp_path / "killed" / "models").iterdir()} == {"last.pt", "model.pt"}


def test_evaluation_leaves_predictions_tables_and_figure(bundle: Path, run: Any) -> None:
    run("train", "evaluate")
    results = bundle / "output" / "evaluation"
    (prediction,) = (results / "predictions").rglob("*.nii.gz")
    case = prediction.parent.relative_to(results / "predictions")
    assert_on_grid_of(prediction, dataset_dir(bundle) / case / "FLAIR.nii.gz")
    for name in METRICS:
        rows = (results / f"{name}_raw.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows] == ["filename", case.parent.as_posix()]
        assert name in (results / "metrics.csv").read_text()
    assert (results / "lesions_1.png").stat().st_size > 10_000


def test_inference_needs_no_labels_and_keeps_any_orientation(bundle: Path, run: Any, tmp_path: Path) -> None:
    # the same head stored the other way round, as another scanner might
    source = dataset_dir(bundle) / "Utrecht" / "0" / "pre"
    target = tmp_path / "hospital" / "patient" / "pre"
    target.mkdir(parents=True)
    turn = nib.orientations.axcodes2ornt("PSR")
    for name in ("FLAIR.nii.gz", "T1.nii.gz"):
        nib.save(nib.load(source / name).as_reoriented(turn), target / name)
    for folder, output in ((source.parents[1], "a"), (tmp_path / "hospital", "b")):
        run(
            "inference", dataset_dir=str(folder), output_dir=str(tmp_path / output), save_probabilities=True,
            decision_threshold=0.3,
        )  # fmt: skip
    (straight,) = (tmp_path / "a").rglob("FLAIR_wmh.nii.gz")
    (turned,) = (tmp_path / "b").rglob("FLAIR_wmh.nii.gz")
    assert turned == tmp_path / "b" / "patient" / "pre" / "FLAIR_wmh.nii.gz"
    assert_on_grid_of(straight, source / "FLAIR.nii.gz")
    assert_on_grid_of(turned, target / "FLAIR.nii.gz")
    probability = [path.with_name("FLAIR_wmh_probability.nii.gz") for path in (straight, turned)]
    straight_p, turned_p = (nib.as_closest_canonical(nib.load(path)).get_fdata() for path in probability)
    np.testing.assert_allclose(turned_p, straight_p, atol=1e-3)
    assert straight_p.std() > 0.01
    np.testing.assert_array_equal(nib.load(probability[1]).get_fdata() >= 0.3, nib.load(turned).get_fdata())


def test_inference_takes_an_operating_point(bundle: Path, run: Any, tmp_path: Path) -> None:
    OperatingPoint(0.3, min_volume_mm3=400, high_threshold=0.5).save(tmp_path / "point.json")
    source = dataset_dir(bundle) / "Utrecht" / "0" / "pre" / "FLAIR.nii.gz"
    options = {"dataset_dir": str(source.parents[2]), "output_dir": str(tmp_path / "out"), "save_probabilities": True}
    run("inference", operating_point=str(tmp_path / "point.json"), **options)
    (mask,) = (tmp_path / "out").rglob("FLAIR_wmh.nii.gz")
    assert_on_grid_of(mask, source)
    probability = nib.load(mask.with_name("FLAIR_wmh_probability.nii.gz"))
    point = OperatingPoint.load(tmp_path / "point.json")
    expected = apply_operating_point(
        probability.get_fdata(dtype=np.float32)[None], point, probability.header.get_zooms()
    )
    np.testing.assert_array_equal(nib.load(mask).get_fdata(), expected[0])


def test_an_ensemble_saves_the_mean_of_the_probabilities(bundle: Path, run: Any, tmp_path: Path) -> None:
    # the second network is the first with other weights in its last layer
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    weights = {name: value + 0.5 if name.startswith("final_conv") else value for name, value in weights.items()}
    torch.save(weights, tmp_path / "second.pt")
    paths = [str(bundle / "models" / "model.pt"), str(tmp_path / "second.pt")]
    options = {"dataset_dir": str(dataset_dir(bundle) / "Utrecht"), "save_probabilities": True}
    for number, path in enumerate(paths):
        run("inference", ckpt_path=path, output_dir=str(tmp_path / str(number)), **options)
    run("inference", "ensemble", ckpt_paths=paths, output_dir=str(tmp_path / "mean"), **options)
    first, second, mean = (
        nib.load(tmp_path / name / "0" / "pre" / "FLAIR_wmh_probability.nii.gz").get_fdata()
        for name in ("0", "1", "mean")
    )
    assert abs(first - second).max() > 0.1
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-5)
    mask = nib.load(tmp_path / "mean" / "0" / "pre" / "FLAIR_wmh.nii.gz").get_fdata()
    np.testing.assert_array_equal(mask, mean >= 0.5)


def scores_shown(console: str) -> dict[str, float]:
    """The last line of scores on the console."""
    line = [line for line in console.splitlines() if METRICS[0] + " " in line][-1]
    found = dict(re.findall(r"(\w+) ([\d.e-]+|nan)", line))
    return {name: float(found[name]) for name in METRICS}


def test_two_ranks_see_the_scores_of_one(
    bundle: Path, run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # five cases of two kinds. Three for validation are two on one rank and one on the other
    for number in range(5):
        site = ("Utrecht", "GE3T")[number % 2]
        shutil.copytree(dataset_dir(bundle) / site / "0", tmp_path / "data" / "site" / str(number))
    options = trained(tmp_path) | {"dataset_dir": str(tmp_path / "data"), "split#val_fraction": 0.6}
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    files = configs("train", "multi_gpu_train", folder=bundle / "configs")
    command += ["-m", "monai.bundle", "run", "--config_file", str(files)]
    for key, value in (TINY | options).items():
        command += [f"--{key}", str(value)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two_ranks = scores_shown(done.stdout)
    with caplog.at_level(logging.INFO):
        run("train", "evaluate", **options)
    one_rank = scores_shown(caplog.text)
    assert one_rank["false_instances"] > 0
    assert two_ranks == pytest.approx(one_rank, rel=2e-3, nan_ok=True)
    rows = (tmp_path / "output" / "evaluation" / "mean_dice_raw.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    # one rank writes: one file of curves, one line a validation
    assert len(list((tmp_path / "output").glob("events.*"))) == 1
    assert done.stdout.count("epoch 1, validation: ") == 1


def test_a_case_without_t1_is_refused_by_name(bundle: Path, run: Any, tmp_path: Path) -> None:
    broken = tmp_path / "Utrecht" / "5"
    shutil.copytree(dataset_dir(bundle) / "Utrecht" / "0", broken)
    (broken / "pre" / "T1.nii.gz").unlink()
    with pytest.raises(RuntimeError) as refused:
        run("train", dataset_dir=str(tmp_path))
    assert isinstance(refused.value.__cause__, FileNotFoundError)
    assert "Utrecht/5/pre/T1.nii.gz" in str(refused.value.__cause__)


def causes(error: BaseException | None) -> list[str]:
    messages = []
    while error is not None:
        messages.append(str(error))
        error = error.__cause__
    return messages


def with_voxel(bundle: Path, root: Path, site: str, name: str, value: float) -> Path:
    """The bundle's data set with another value in the first voxel of one file."""
    shutil.copytree(dataset_dir(bundle), root)
    path = root / site / "0" / name
    image = nib.load(path)
    voxels = image.get_fdata(dtype=np.float32)
    voxels[0, 0, 0] = value
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    return path


def trained(folder: Path) -> dict[str, Any]:
    return {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "output")}


@pytest.mark.parametrize("mistyped", [{"dataset_dir": "WHM"}, {"dataset_dir": "empty", "make_data": "false"}])
def test_a_mistyped_folder_is_refused_and_not_filled(bundle: Path, run: Any, tmp_path: Path, mistyped: Any) -> None:
    (tmp_path / "empty").mkdir()
    folder = tmp_path / mistyped["dataset_dir"]
    with pytest.raises(RuntimeError) as refused:
        run("train", **trained(tmp_path), **mistyped | {"dataset_dir": str(folder)})
    assert f"Expected `dataset_dir` to hold cases, but got {folder}, which" in "".join(causes(refused.value))
    assert not list(tmp_path.rglob("*.nii.gz"))
    assert not list(tmp_path.rglob("model.pt"))


def test_data_are_made_where_somebody_asks_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setattr(dataset, "write_wmh_dataset", lambda folder, **options: made.append(folder))
    default = parsed("train", bundle_root=str(tmp_path)).get_parsed_content("dataset_dir")
    # "true" is what the command line gives
    for override in ({"bundle_root": str(tmp_path)}, {"dataset_dir": str(tmp_path / "mine"), "make_data": "true"}):
        parsed("train", **override).get_parsed_content("cases")
    assert made == [Path(default), tmp_path / "mine"]


@pytest.mark.parametrize("site", ["Utrecht", "GE3T"])
def test_an_image_that_is_not_finite_is_named_before_training(
    bundle: Path, run: Any, tmp_path: Path, site: str
) -> None:
    path = with_voxel(bundle, tmp_path / "data", site, "pre/FLAIR.nii.gz", np.nan)
    with pytest.raises(RuntimeError) as refused:
        run("train", dataset_dir=str(tmp_path / "data"), **trained(tmp_path))
    assert f"({path}) to be finite, but got NaN or infinity in 1 of" in causes(refused.value)[-1]
    assert not list(tmp_path.rglob("model.pt"))
    with pytest.raises(RuntimeError) as refused:
        run("inference", dataset_dir=str(tmp_path / "data"), output_dir=str(tmp_path / "out"))
    assert f"({path}) to be finite" in causes(refused.value)[-1]


@pytest.mark.parametrize(("site", "label"), [("Utrecht", 3), ("GE3T", -1)])
def test_an_unknown_label_is_named_before_training(
    bundle: Path, run: Any, tmp_path: Path, site: str, label: int
) -> None:
    # one of the two sites is for training, the other for validation
    path = with_voxel(bundle, tmp_path / "data", site, "wmh.nii.gz", label)
    with pytest.raises(RuntimeError) as refused:
        run("train", dataset_dir=str(tmp_path / "data"), **trained(tmp_path))
    listed = ", ".join(map(str, sorted({0, 1, label} | {int(x) for x in np.unique(nib.load(path).dataobj)})))
    message = f"Expected `mask` ({path}) to hold no labels but 0, 1 and the ignore_label 2, but got {listed}."
    assert causes(refused.value)[-1] == message


def test_a_loss_that_is_no_number_ends_with_an_error(run: Any, tmp_path: Path) -> None:
    # the first step makes the weights huge; the second epoch comes before the first validation
    with pytest.raises(RuntimeError) as refused:
        run("train", learning_rate=1e30, epochs=2, **trained(tmp_path))
    assert causes(refused.value)[-1].startswith("Expected the loss to be finite, but got nan in epoch 2, iteration 2")
    assert not list(tmp_path.rglob("*.pt"))


def test_a_net_that_is_not_finite_is_neither_saved_nor_evaluated(bundle: Path, run: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as refused:
        run("train", learning_rate=math.inf, **trained(tmp_path))
    assert f"weights to save as {tmp_path}/models/model.pt to be finite" in causes(refused.value)[-1]
    assert not list(tmp_path.rglob("*.pt"))
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    torch.save({name: value * torch.nan for name, value in weights.items()}, tmp_path / "bad.pt")
    for names, where in ((["train", "evaluate"], {"eval_dir": str(tmp_path / "a")}), (["inference"], {})):
        with pytest.raises(RuntimeError) as refused:
            run(*names, ckpt_path=str(tmp_path / "bad.pt"), dataset_dir=str(dataset_dir(bundle)), **where)
        assert f"Expected the weights in {tmp_path}/bad.pt to be finite" in causes(refused.value)[-1]
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_a_second_training_keeps_the_model_of_the_first(bundle: Path, run: Any, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(bundle / "models" / "model.pt", tmp_path / "models")
    run("train", **trained(tmp_path), seed=1)
    kept = tmp_path / "models" / "model_earlier_1.pt"
    assert kept.read_bytes() == (bundle / "models" / "model.pt").read_bytes()
    assert (tmp_path / "models" / "model.pt").read_bytes() != kept.read_bytes()
