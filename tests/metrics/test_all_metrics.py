"""One table for all metrics: what every metric that the package exports keeps. A new one is found by its export."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable

import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric, DiceMetric, compute_froc_score
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

from monai_instance_loss import handlers, metrics
from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics.average_precision import average_precision, match_by_score
from monai_instance_loss.metrics.candidates import match_candidates
from monai_instance_loss.metrics.component import score_components
from monai_instance_loss.metrics.froc import froc_curve

# MONAI says at every call that a mask is empty
pytestmark = pytest.mark.filterwarnings("ignore")
NAN = float("nan")
REDUCTIONS = [member.value for member in MetricReduction]


class DetectedInstancesMetric(metrics.InstanceMetric):
    """What a contributor writes, as an example: the number of true instances that are found."""

    def tally(self, pairs, true, pred):
        return true.count(pairs.found()[0])[..., None]

    def scores(self, tally):
        return [tally[..., 0].float()]


def exported() -> list[type[CumulativeIterationMetric]]:
    values = {getattr(metrics, name) for name in metrics.__all__}
    kinds = [value for value in values if inspect.isclass(value) and issubclass(value, CumulativeIterationMetric)]
    return sorted((kind for kind in kinds if not inspect.isabstract(kind)), key=lambda kind: kind.__name__)


METRICS = [*exported(), DetectedInstancesMetric]
# exported metrics that have no handler, and why
WITHOUT_HANDLER: dict[str, str] = {}
# of whole cases
ONE_CHANNEL = NOT_POOLED = {metrics.WMHChallengeMetric}
PROBABILITIES = {metrics.InstanceAveragePrecisionMetric, metrics.InstanceFROC}


def takes(option: str) -> list[type[CumulativeIterationMetric]]:
    return [kind for kind in METRICS if option in inspect.signature(kind).parameters]


all_metrics = pytest.mark.parametrize("kind", METRICS)


def make(kind: type[CumulativeIterationMetric], **options: object) -> CumulativeIterationMetric:
    return kind(DiceMetric(), **options) if kind is metrics.ComponentMetric else kind(**options)


def reductions(kind: type[CumulativeIterationMetric]) -> list[str]:
    return REDUCTIONS if kind in NOT_POOLED else [*REDUCTIONS, "pooled"]


def in_mm(y: torch.Tensor) -> MetaTensor:
    return MetaTensor(y, affine=torch.diag(torch.tensor([1.0, 1, 2, 1])))


def scene(kind: type[CumulativeIterationMetric]) -> tuple[torch.Tensor, MetaTensor]:
    """Four samples: of the second both masks are empty, of the third the truth, of the fourth the prediction."""
    generator = torch.Generator().manual_seed(0)
    shape = (4, 1 if kind in ONE_CHANNEL else 2, 7, 7, 4)
    y, noise = ((torch.rand(shape, generator=generator) > 0.94).float() for _ in range(2))
    # half found, so that every score has something to say
    y_pred = torch.where(torch.rand(shape, generator=generator) > 0.4, y, noise)
    y_pred[1], y_pred[3], y[1], y[2] = 0, 0, 0, 0
    if kind in PROBABILITIES:
        y_pred = y_pred * torch.linspace(0.2, 1, y_pred.numel()).view(shape)
    return y_pred, in_mm(y)


def results(metric: CumulativeIterationMetric, reduction: str | None = None) -> list:
    values = metric.aggregate(reduction)
    return values if isinstance(values, list) else [values]


def scored(kind: type[CumulativeIterationMetric], y_pred: object, y: object, **options: object) -> list:
    metric = make(kind, **options)
    metric(y_pred, y)
    return results(metric)


def assert_same(actual: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    torch.testing.assert_close(actual, expected, equal_nan=True, rtol=1e-6, atol=1e-6)


def volume(*voxels: int, shape: tuple[int, ...] = (1, 1, 5, 2, 2)) -> torch.Tensor:
    mask = torch.zeros(shape)
    mask[:, :, list(voxels), 0, 0] = 1
    return mask


ONES, ONE = torch.ones(1, 1, 5, 2, 2), torch.ones(1, 1, 1, 1, 1)
EMPTY_CASES = {
    "neither": (volume(), volume()),
    "no lesion": (volume(0, 4), volume()),
    "no prediction": (volume(), volume(0, 4)),
    "nothing matches": (volume(0), volume(4)),
    "all foreground": (ONES, ONES),
    "one voxel": (volume(2), volume(2)),
    "a volume of one voxel": (ONE, ONE),
    "an empty volume of one voxel": (ONE - 1, ONE - 1),
}
# the mean in each of these cases, of the first score where there are several; a new metric may go without a row
EXPECTED = {
    metrics.ComponentMetric: (NAN, NAN, 0, 0, 1, 1, 1, NAN),
    metrics.FalseInstancesMetric: (0, 2, 0, 1, 0, 0, 0, 0),
    metrics.InstanceAveragePrecisionMetric: (NAN, NAN, 0, 0, 1, 1, 1, NAN),
    metrics.InstanceConfusionMatrixMetric: (NAN, 0, 0, 0, 1, 1, 1, NAN),
    metrics.InstanceDiceMetric: (NAN, NAN, 0, 0, 1, 1, 1, NAN),
    metrics.InstanceF1Metric: (NAN, 0, 0, 0, 1, 1, 1, NAN),
    metrics.InstanceFROC: (NAN, NAN, 0, 0, 1, 1, 1, NAN),
    metrics.InstanceIoUMetric: (NAN, NAN, 0, 0, 1, 1, 1, NAN),
    metrics.MissedInstancesMetric: (0, 0, 2, 1, 0, 0, 0, 0),
    metrics.PanopticQualityMetric: (NAN, 0, 0, 0, 1, 1, 1, NAN),
    metrics.WMHChallengeMetric: (NAN, 0, 0, 0, 1, 1, 1, NAN),
}


@all_metrics
@pytest.mark.parametrize("case", EMPTY_CASES)
def test_degenerate_cases_in_every_reduction(kind, case):
    y_pred, y = EMPTY_CASES[case]
    metric = make(kind)
    metric(y_pred, in_mm(y))
    scores = [score.flatten().tolist() for score in results(metric, "none")]
    # one sample and one channel: no reduction makes another number of it, and none makes 0 of nothing
    for reduction in reductions(kind):
        values = [value.flatten().tolist() for value in results(metric, reduction)]
        assert values == [pytest.approx(score, nan_ok=True) for score in scores]
        assert all(len(value) == 1 for value in values)
    if kind in EXPECTED:
        expected = EXPECTED[kind][list(EMPTY_CASES).index(case)]
        assert scores[0] == [pytest.approx(expected, nan_ok=True)]


@all_metrics
@pytest.mark.parametrize("reduction", [*MetricReduction, "mean_batch"])
def test_reductions_are_those_of_monai_but_for_nan(kind, reduction):
    metric, plain = make(kind, get_not_nans=True), make(kind, reduction=reduction)
    for each in (metric, plain):
        each(*scene(kind))
    expected = []
    for scores, _ in results(metric, "none"):
        value, not_nans = do_metric_reduction(scores.clone(), reduction)
        expected.append((torch.where(not_nans == 0, NAN, value), not_nans))
    for (value, not_nans), wanted in zip(results(metric, reduction), expected, strict=True):
        assert value.shape == wanted[0].shape
        assert_same([value, not_nans], list(wanted))
    assert_same(results(plain), [value for value, _ in expected])


@all_metrics
def test_unknown_reductions_are_refused(kind):
    metric = make(kind)
    metric(*scene(kind))
    for reduction in ("median", "Pooled", 3):
        with pytest.raises(ValueError, match=rf"Expected `reduction` .* but got {reduction!r}"):
            make(kind, reduction=reduction)
        with pytest.raises(ValueError, match=rf"Expected `reduction` .* but got {reduction!r}"):
            metric.aggregate(reduction)


@all_metrics
@pytest.mark.parametrize("empty", ["tensor", "list"])
def test_a_batch_of_none_adds_nothing(kind, empty):
    y_pred, y = scene(kind)
    nothing = (y_pred[:0], y[:0]) if empty == "tensor" else ([], [])
    alone, among, only = make(kind), make(kind), make(kind)
    alone(y_pred, y)
    for batch in (nothing, (y_pred, y), nothing):
        among(*batch)
    assert_same(results(among), results(alone))
    assert_same([among.get_buffer()], [alone.get_buffer()])
    rows = only(*nothing)
    assert (rows.dtype, rows.ndim, len(only)) == (alone.get_buffer().dtype, alone.get_buffer().ndim, 0)
    assert all(value.isnan().all() for value in results(only))


@all_metrics
def test_lists_and_split_batches_are_as_one_batch(kind):
    y_pred, y = scene(kind)
    expected = scored(kind, y_pred, y)
    samples = [in_mm(mask) for mask in y.as_tensor()]
    assert_same(scored(kind, list(y_pred), samples), expected)
    assert_same(scored(kind, tuple(map(MetaTensor, y_pred)), tuple(samples)), expected)
    split = make(kind)
    for cut in (slice(0, 1), slice(1, 4)):
        split(y_pred[cut], y[cut])
    assert_same(results(split), expected)
    with pytest.raises(ValueError, match=r"Expected `y` .*as many samples as `y_pred`, 4, but got 3"):
        split(list(y_pred), samples[:3])


@all_metrics
def test_arguments_and_buffer_are_left_as_they_are(kind):
    y_pred, y = scene(kind)
    before = y_pred.clone(), y.clone()
    metric = make(kind)
    rows = metric(y_pred, y).clone()
    for reduction in reductions(kind):
        metric.aggregate(reduction)
    assert torch.equal(y_pred, before[0])
    assert torch.equal(y.as_tensor(), before[1].as_tensor())
    torch.testing.assert_close(metric.get_buffer(), rows, equal_nan=True, rtol=0, atol=0)
    assert metric.reduction == "mean"
    assert type(rows) is torch.Tensor


@all_metrics
def test_survives_pickling_and_reset(kind):
    y_pred, y = scene(kind)
    metric = make(kind)
    metric(y_pred[:2], y[:2])
    again = pickle.loads(pickle.dumps(metric))
    assert_same(results(again), results(metric))
    again(y_pred[2:], y[2:])
    assert_same(results(again), scored(kind, y_pred, y))
    again.reset()
    assert again.get_buffer() is None
    with pytest.raises(ValueError, match=f"Expected {kind.__name__} to be called before `aggregate`, but got no data"):
        again.aggregate()


@all_metrics
def test_any_dtype_and_a_graph_give_the_same(kind):
    y_pred, y = scene(kind)
    y_pred = (y_pred > 0).float()
    expected = scored(kind, y_pred, y)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64):
        assert_same(scored(kind, y_pred.to(dtype), in_mm(y.as_tensor().to(dtype))), expected)
    values = scored(kind, y_pred.requires_grad_(), y)
    assert_same(values, expected)
    assert not any(value.requires_grad for value in values)


@all_metrics
def test_works_in_inference_mode(kind):
    y_pred, y = scene(kind)
    expected = scored(kind, y_pred, y)
    with torch.inference_mode():
        assert_same(scored(kind, y_pred, y), expected)
        assert_same(scored(kind, *scene(kind)), expected)


@all_metrics
def test_unknown_arguments_of_a_call_are_refused(kind):
    y_pred, y = scene(kind)
    for batch in ((y_pred, y), (list(y_pred), list(y))):
        with pytest.raises(TypeError, match="unexpected keyword argument 'spacing'"):
            make(kind)(*batch, spacing=(1, 1, 3))


@pytest.mark.parametrize("kind", takes("ignore_index"))
def test_ignored_voxels_have_no_influence(kind):
    y_pred, y = scene(kind)
    y[0, :, :, 3:] = y[2] = -1
    other = y_pred.clone()
    other[0, :, :, 3:], other[2] = 1 - other[0, :, :, 3:], 1
    assert_same(scored(kind, other, y, ignore_index=-1), scored(kind, y_pred, y, ignore_index=-1))
    # a sample of ignored voxels is as an empty one
    ignored, empty = in_mm(torch.full_like(y.as_tensor(), -1)), in_mm(torch.zeros_like(y.as_tensor()))
    expected = scored(kind, torch.zeros_like(y_pred), empty, reduction="none")
    assert_same(scored(kind, y_pred, ignored, ignore_index=-1, reduction="none"), expected)


@pytest.mark.parametrize("kind", takes("volume_edges_mm3"))
def test_bins_of_volume_come_last(kind):
    binned, plain = make(kind, volume_edges_mm3=(3.0, 5.0), get_not_nans=True), make(kind)
    for metric in (binned, plain):
        metric(*scene(kind))
    for reduction in reductions(kind):
        for (value, not_nans), whole in zip(results(binned, reduction), results(plain, reduction), strict=True):
            shape = () if whole.shape == (1,) and reduction in ("mean", "pooled") else whole.shape
            assert value.shape == not_nans.expand_as(value).shape == (*shape, 3)


@pytest.mark.parametrize("kind", takes("include_background"))
def test_the_first_channel_is_background_where_there_are_several(kind):
    y_pred, y = scene(kind)
    options = {"include_background": False, "reduction": "none"}
    expected = scored(kind, y_pred[:, 1:], y[:, 1:], reduction="none")
    for cut in (0, 1):
        assert_same(scored(kind, y_pred[:, cut:], y[:, cut:], **options), expected)


def of_counts(score: Callable) -> Callable:
    return lambda y_pred, y: score(metrics.match_by_touch(y_pred, y))


def of_lesions(measure: str) -> Callable:
    def mean(y_pred, y):
        rows = []
        for one, other in zip(y_pred.split(1), y.split(1), strict=True):
            true, pred = label_instances(other), label_instances(one)
            rows.append(metrics.match_instances(true, pred).measure_unions(measure).mean())
        return torch.stack(rows)[:, None]

    return mean


def of_cells(y_pred: torch.Tensor, y: MetaTensor) -> torch.Tensor:
    cases = zip(y_pred.split(1), y.as_tensor().split(1), strict=True)
    scores = [score_components(DiceMetric(), one > 0, label_instances(other), (1, 1, 2)) for one, other in cases]
    return torch.stack([score.mean() for score in scores])[:, None]


def of_curve(y_pred: torch.Tensor, y: MetaTensor) -> torch.Tensor:
    found = match_candidates(y_pred, y_pred >= 0.1, y.as_tensor() > 0)
    curve = froc_curve(found.score.double().numpy(), found.false_score.double().numpy(), len(y_pred))
    return torch.tensor([[compute_froc_score(*curve, (0.125, 0.25, 0.5, 1, 2, 4, 8))]])


def of_precision(y_pred: torch.Tensor, y: MetaTensor) -> torch.Tensor:
    thresholds = [step / 20 for step in range(2, 11)]
    scores, matched, count = [], [], 0
    for one, other in zip(y_pred.split(1), y.as_tensor().split(1), strict=True):
        true, pred = label_instances(other), label_instances(one >= 0.1)
        score = torch.tensor([float(one[pred.labels == k + 1].max()) for k in range(pred.count)])
        scores.append(score)
        matched.append(match_by_score(metrics.overlap_table(true, pred), score, thresholds))
        count += true.count
    score, hits = torch.cat(scores).numpy(), torch.cat(matched).numpy()
    return torch.tensor([[sum(average_precision(score, hit, count)[0] for hit in hits.T) / len(thresholds)]])


def of_challenge(y_pred: torch.Tensor, y: MetaTensor) -> torch.Tensor:
    cases = zip(y_pred.split(1), y.as_tensor().split(1), strict=True)
    return torch.tensor([[metrics.wmh_challenge_scores(one, other, (1, 1, 2))["dsc"]] for one, other in cases])


FUNCTIONS = {
    metrics.ComponentMetric: of_cells,
    metrics.FalseInstancesMetric: of_counts(lambda counts: counts.false.float()),
    metrics.InstanceAveragePrecisionMetric: of_precision,
    metrics.InstanceDiceMetric: of_lesions("dice"),
    metrics.InstanceFROC: of_curve,
    metrics.InstanceIoUMetric: of_lesions("iou"),
    metrics.MissedInstancesMetric: of_counts(lambda counts: counts.missed.float()),
    metrics.WMHChallengeMetric: of_challenge,
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_the_class_says_what_its_function_says(kind):
    y_pred, y = scene(kind)
    y_pred, y = y_pred[:, :1], y[:, :1]
    expected = FUNCTIONS[kind](y_pred, y)
    assert_same(scored(kind, y_pred, y, reduction="none")[:1], [torch.as_tensor(expected, dtype=torch.float32)])


@pytest.mark.parametrize("kind", exported())
def test_has_a_handler_and_a_docstring_that_stands_alone(kind):
    served = {getattr(handlers, name).__dict__.get("metric_type") for name in handlers.__all__}
    assert (kind in served) != (kind.__name__ in WITHOUT_HANDLER)
    for part in ("Source:", "Differentiable: nothing", "Raises:", "Example:\n        >>> ", "(B, "):
        assert part in kind.__doc__, part


def test_an_exported_metric_is_found(monkeypatch):
    monkeypatch.setattr(metrics, "DetectedInstancesMetric", DetectedInstancesMetric, raising=False)
    monkeypatch.setattr(metrics, "__all__", [*metrics.__all__, "DetectedInstancesMetric"])
    assert DetectedInstancesMetric in exported()


# how many of the four samples each of two ranks sees; None: the rank never calls the metric
SPLITS = {"uneven": [3, 1], "one without a sample": [4, 0], "one never called": [None, 4], "the other": [4, None]}
BINS = {"volume_edges_mm3": (3.0, 5.0)}
SEVERAL = {"metric_name": ["tp", "merged", "split"], **BINS}
DISTRIBUTED = {
    **{kind.__name__: (kind, {}) for kind in METRICS},
    **{f"{kind.__name__} in bins": (kind, BINS) for kind in takes("volume_edges_mm3")},
    "several names in bins": (metrics.InstanceConfusionMatrixMetric, SEVERAL),
}


def aggregates(metric: CumulativeIterationMetric) -> dict[str, list[torch.Tensor]]:
    return {reduction: results(metric, reduction) for reduction in reductions(type(metric))}


def of_a_rank(rank: int) -> dict:
    values: dict = {}
    for split, counts in SPLITS.items():
        for name, (kind, options) in DISTRIBUTED.items():
            metric = make(kind, **options)
            if counts[rank] is not None:
                start = sum(filter(None, counts[:rank]))
                metric(*(mask[start : start + counts[rank]] for mask in scene(kind)))
            values[split, name] = aggregates(metric)
    for kind in METRICS:
        metric = make(kind)
        metric(*(mask[rank : rank + 1] for mask in scene(kind)))
        metric.aggregate()
        # now one rank has more, and the other must gather once more, with nothing
        metric(*(mask[2:4] if rank else mask[:0] for mask in scene(kind)))
        values["called again", kind.__name__] = aggregates(metric)
    return values


@pytest.fixture(scope="module")
def ranks(two_ranks) -> list[dict]:
    return two_ranks(__file__, "of_a_rank")


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_two_ranks_aggregate_as_one(ranks, name):
    kind, options = DISTRIBUTED[name]
    metric = make(kind, **options)
    metric(*scene(kind))
    expected = aggregates(metric)
    for split in [*SPLITS, *([] if options else ["called again"])]:
        for rank in ranks:
            assert list(rank[split, name]) == list(expected)
            for reduction, values in expected.items():
                assert_same(rank[split, name][reduction], values)
