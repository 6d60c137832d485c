from __future__ import annotations

import csv
import inspect

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, MetricsSaver, from_engine
from monai.metrics import DiceMetric
from monai.transforms import AsDiscreted

from monai_instance_loss import handlers
from monai_instance_loss.handlers import (
    ComponentScore,
    FalseInstances,
    InstanceConfusionMatrix,
    InstanceF1,
    InstanceFROC,
    MissedInstances,
    PanopticQuality,
    WMHChallenge,
)
from monai_instance_loss.metrics import FalseInstancesMetric, InstanceF1Metric, MissedInstancesMetric

COUNTS = [
    (InstanceF1, InstanceF1Metric),
    (MissedInstances, MissedInstancesMetric),
    (FalseInstances, FalseInstancesMetric),
]
# found by their export; `tests/metrics/test_all_metrics.py` asks that every metric has one
SERVING = [getattr(handlers, name) for name in handlers.__all__]
PAIRS = [(handler, handler.metric_type) for handler in SERVING if hasattr(handler, "metric_type")]
# lesions at 0, 2, 4 and predictions at 0-2, 6; then nothing; then a lesion at 0 and a prediction on it
Y = torch.tensor([[1, 0, 1, 0, 1, 0, 0], [0] * 7, [1, 0, 0, 0, 0, 0, 0]]).view(3, 1, 1, 7).float()
Y_PRED = torch.tensor([[1, 1, 1, 0, 0, 0, 1], [0] * 7, [1, 0, 0, 0, 0, 0, 0]]).view(3, 1, 1, 7).float()


def run(handler: IgniteMetricHandler, batches: list) -> Engine:
    engine = Engine(lambda engine, batch: batch)
    handler.attach(engine, "metric")
    engine.run(batches)
    return engine


def test_handlers_are_found():
    assert {InstanceF1, WMHChallenge} < {handler for handler, _ in PAIRS}


@pytest.mark.parametrize(("handler", "metric"), PAIRS)
def test_handler_misses_no_option(handler, metric):
    options = inspect.signature(metric.__init__).parameters
    offered = inspect.signature(handler.__init__).parameters
    assert list(offered) == [*options, "output_transform", "save_details"]
    assert all(offered[name].default == options[name].default for name in options)
    assert issubclass(handler, IgniteMetricHandler)


@pytest.mark.parametrize(("handler", "metric"), COUNTS)
def test_every_option_reaches_the_metric(handler, metric):
    options = {"include_background": False, "reduction": "pooled", "get_not_nans": True}
    options |= {"connectivity": 1, "ignore_index": 7}
    if metric is not InstanceF1Metric:
        options["as_rate"] = True
    metric_fn = handler(**options).metric_fn
    assert type(metric_fn) is metric
    assert {name: getattr(metric_fn, name) for name in options} == options


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        # F1: 4/7, nothing, 1; their mean 11/14
        (InstanceF1(), 11 / 14),
        # all cases together: sensitivity 3/4, precision 2/3, F1 12/17
        (InstanceF1(reduction="pooled"), 12 / 17),
        # missed: 1, 0, 0
        (MissedInstances(), 1 / 3),
        # missed rates: 1/3, nothing, 0
        (MissedInstances(as_rate=True), 1 / 6),
        # false rates: 1/2, nothing, 0
        (FalseInstances(as_rate=True), 1 / 4),
        (FalseInstances(reduction="sum"), 1),
    ],
)
def test_hand_derived_values_over_iterations(handler, expected):
    engine = run(handler, [(Y_PRED[:2], Y[:2]), (list(Y_PRED[2:]), list(Y[2:]))])
    assert isinstance(engine.state.metrics["metric"], float)
    assert engine.state.metrics["metric"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        # missed 1, 0, 0; F1 4/7, nothing, 1
        (InstanceConfusionMatrix(metric_name=["fn", "f1"]), {"lesion_fn": 1 / 3, "lesion_f1": 11 / 14}),
        (PanopticQuality(metric_name=["rq", "sq"], reduction="sum"), {"lesion_rq": 1.0, "lesion_sq": 1.0}),
        # the prediction at 0-2 lies over two lesions, in one of three cases
        (InstanceConfusionMatrix(metric_name=["merged", "split"]), {"lesion_merged": 1 / 3, "lesion_split": 0.0}),
    ],
)
def test_several_scores_have_a_name_each(handler, expected):
    engine = Engine(lambda engine, batch: batch)
    handler.attach(engine, "lesion")
    state = engine.run([(Y_PRED[:2], Y[:2]), (Y_PRED[2:], Y[2:])])
    assert state.metrics == pytest.approx(expected)
    assert all(isinstance(value, float) for value in state.metrics.values())
    assert {name: details.shape for name, details in state.metric_details.items()} == dict.fromkeys(expected, (3, 1))


def test_the_challenge_has_five_scores_of_each_case():
    mask = torch.zeros(2, 1, 6, 6, 6)
    mask[:, 0, 2:4, 2:4, 2:4] = 1
    # the second case lacks half of its lesion: Dice 2/3, volumes 50 percent apart
    y_pred = mask.clone()
    y_pred[1, 0, 2] = 0
    engine = run(WMHChallenge(spacing_mm=(1, 1, 3)), [(y_pred, mask)])
    scores = engine.state.metrics
    assert set(scores) == {f"metric_{name}" for name in ("dsc", "h95", "avd", "recall", "f1")}
    assert scores["metric_dsc"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["metric_avd"] == pytest.approx(25)
    torch.testing.assert_close(engine.state.metric_details["metric_dsc"], torch.tensor([[1.0], [2 / 3]]))


def test_cells_and_curves():
    # cells of the three lesions: Dice 2/3 (one too many), 1 and 0, and 1 in the case of one lesion
    engine = run(ComponentScore(DiceMetric(), reduction="mean"), [(Y_PRED, Y)])
    details = engine.state.metric_details["metric"]
    assert details.shape == (3, 1)
    assert details[2] == 1
    assert details[1].isnan()
    engine = run(InstanceFROC(threshold=0.5), [(0.9 * Y_PRED, Y)])
    # all scores are the same: a line from 0 to 3 of 4 lesions at 1 false positive in 3 cases, flat from there
    # at 1/8 and 1/4 of one: 3/4 * 3/8 and 3/4 * 3/4, and 3/4 at the other five
    assert engine.state.metrics["metric"] == pytest.approx(0.75 * (3 / 8 + 3 / 4 + 5) / 7)


def test_a_new_run_starts_afresh():
    engine = run(FalseInstances(reduction="sum"), [(Y_PRED, Y)])
    assert engine.run([(Y_PRED, Y)]).metrics["metric"] == 1


def test_nothing_to_score_is_nan():
    assert run(InstanceF1(), [(Y[1:2], Y[1:2])]).state.metrics["metric"] != 0
    assert torch.tensor(run(InstanceF1(), [(Y[1:2], Y[1:2])]).state.metrics["metric"]).isnan()


@pytest.mark.parametrize("get_not_nans", [True, False])
@pytest.mark.filterwarnings("ignore:metric handler can only record the first value")
def test_details_are_scores_of_samples_and_channels(get_not_nans):
    engine = run(MissedInstances(as_rate=True, get_not_nans=get_not_nans), [(Y_PRED, Y)])
    details = engine.state.metric_details["metric"]
    torch.testing.assert_close(details, torch.tensor([[1 / 3], [torch.nan], [0]]), equal_nan=True)


def test_without_details_nothing_is_kept():
    engine = run(InstanceF1(save_details=False), [(Y_PRED, Y)])
    assert not hasattr(engine.state, "metric_details")


def evaluator(key_metric: dict, batches: list, **options: object) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=batches,
        network=torch.nn.Identity(),
        postprocessing=AsDiscreted("pred", threshold=0.5),
        key_val_metric=key_metric,
        **options,
    )


def test_key_metric_of_a_supervised_evaluator(tmp_path):
    batches = [{"image": Y_PRED[:2] * 0.9, "label": Y[:2]}, {"image": Y_PRED[2:] * 0.9, "label": Y[2:]}]
    pair = from_engine(["pred", "label"])
    engine = evaluator(
        {"instance_f1": InstanceF1(output_transform=pair)},
        batches,
        additional_metrics={"missed": MissedInstances(output_transform=pair)},
        val_handlers=[MetricsSaver(tmp_path, metric_details="*", batch_transform=lambda batch: [{}] * len(batch))],
    )
    engine.run()
    assert engine.state.metrics["instance_f1"] == pytest.approx(11 / 14)
    assert engine.state.best_metric == pytest.approx(11 / 14)
    assert engine.state.metrics["missed"] == pytest.approx(1 / 3)
    with (tmp_path / "missed_raw.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[1] for row in rows] == ["class0", "1.0", "0.0", "0.0"]


def test_a_bundle_config_can_name_it():
    config = {
        "f1": {
            "_target_": "monai_instance_loss.handlers.InstanceF1",
            "reduction": "pooled",
            "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
        },
        "imports": ["$import monai"],
    }
    handler = ConfigParser(config).get_parsed_content("f1")
    assert isinstance(handler, InstanceF1)
    assert handler.metric_fn.reduction == "pooled"
