"""The metrics as ignite handlers, so that a bundle can name them as its key metric."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric
from monai.utils import MetricReduction

from monai_instance_loss import metrics

__all__ = [
    "ComponentScore",
    "FalseInstances",
    "InstanceAveragePrecision",
    "InstanceConfusionMatrix",
    "InstanceDice",
    "InstanceF1",
    "InstanceFROC",
    "InstanceIoU",
    "MissedInstances",
    "PanopticQuality",
    "WMHChallenge",
]


def _identity(output: Any) -> Any:
    return output


class _MetricHandler(IgniteMetricHandler):
    """A handler with the options of its metric, those of the constructor read off the metric's."""

    metric_type: ClassVar[type[CumulativeIterationMetric]]
    metric_fn: Any

    def __init_subclass__(cls, metric: type[CumulativeIterationMetric], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.metric_type = metric

        # written out here and not once in the base: each class shows the signature that is its own
        def __init__(  # noqa: N807
            self: _MetricHandler,
            *args: Any,
            output_transform: Callable = _identity,
            save_details: bool = True,
            **options: Any,
        ) -> None:
            IgniteMetricHandler.__init__(
                self, metric_fn=metric(*args, **options), output_transform=output_transform, save_details=save_details
            )

        own = list(inspect.signature(__init__).parameters.values())
        of_metric = list(inspect.signature(metric.__init__, eval_str=True).parameters.values())
        handlers = [parameter for parameter in own if parameter.name in ("output_transform", "save_details")]
        __init__.__signature__ = inspect.Signature([*of_metric, *handlers])  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[assignment,method-assign]

    def completed(self, engine: Engine, name: str) -> None:
        """Put the score into the engine's state, or one for each name that the metric was given."""
        names = getattr(self.metric_fn, "metric_name", name)
        if isinstance(names, str):
            super().completed(engine, name)
            if self.save_details:
                engine.state.metric_details[name] = self._details()[0]
            return
        for score, result in zip(names, self.metric_fn.aggregate(), strict=True):
            engine.state.metrics[f"{name}_{score}"] = _plain(result)
        if self.save_details:
            engine.state.metric_details.pop(name, None)
            for score, details in zip(names, self._details(), strict=True):
                engine.state.metric_details[f"{name}_{score}"] = details

    def _details(self) -> list[torch.Tensor]:
        """Scores of each sample and channel, where MONAI would keep the raw buffer."""
        results = self.metric_fn.aggregate(MetricReduction.NONE)
        results = results if isinstance(results, list) else [results]
        return [result[0] if isinstance(result, tuple) else result for result in results]


def _plain(result: Any) -> Any:
    value = result[0] if isinstance(result, tuple) else result
    value = value.squeeze()
    return value.item() if value.ndim == 0 else value


class InstanceConfusionMatrix(_MetricHandler, metric=metrics.InstanceConfusionMatrixMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.InstanceConfusionMatrixMetric`, which explains the options.

    Source: ours, in the manner of ``monai.handlers.ConfusionMatrix``. Given several names, it puts ``<name>_<score>``
    for each into ``engine.state.metrics``, where one name gives ``<name>``.

    Args:
        output_transform: from ``engine.state.output`` to ``(y_pred, y)``, batches or lists of samples.
        save_details: whether to keep the scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> InstanceConfusionMatrix(metric_name=["sensitivity", "precision"]).attach(engine, "lesion")
        >>> run = engine.run([(torch.ones(1, 1, 4, 4), torch.eye(4)[None, None])])
        >>> run.metrics
        {'lesion_sensitivity': 1.0, 'lesion_precision': 1.0}
    """


class InstanceF1(_MetricHandler, metric=metrics.InstanceF1Metric):
    """Handler of :py:class:`monai_instance_loss.metrics.InstanceF1Metric`, in [0, 1], which explains the options.

    Source: ours. ``output_transform`` gives ``(y_pred, y)`` from ``engine.state.output``; ``save_details`` keeps the
    scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> InstanceF1(reduction="pooled").attach(engine, "instance_f1")
        >>> engine.run([(torch.ones(1, 1, 4, 4), torch.eye(4)[None, None])]).metrics["instance_f1"]
        1.0
    """


class MissedInstances(_MetricHandler, metric=metrics.MissedInstancesMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.MissedInstancesMetric`, which explains the options.

    As a key metric it needs a ``metric_cmp_fn`` that takes the smaller value for the better.

    Source: ours. ``output_transform`` gives ``(y_pred, y)`` from ``engine.state.output``; ``save_details`` keeps the
    scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> MissedInstances(as_rate=True).attach(engine, "missed")
        >>> engine.run([(torch.zeros(1, 1, 4, 4), torch.eye(4)[None, None])]).metrics["missed"]
        1.0
    """


class FalseInstances(_MetricHandler, metric=metrics.FalseInstancesMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.FalseInstancesMetric`, which explains the options.

    As a key metric it needs a ``metric_cmp_fn`` that takes the smaller value for the better.

    Source: ours. ``output_transform`` gives ``(y_pred, y)`` from ``engine.state.output``; ``save_details`` keeps the
    scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> FalseInstances().attach(engine, "false")
        >>> engine.run([(torch.eye(4)[None, None], torch.zeros(1, 1, 4, 4))]).metrics["false"]
        1.0
    """


class InstanceDice(_MetricHandler, metric=metrics.InstanceDiceMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.InstanceDiceMetric`, in [0, 1], which explains the options.

    Source: ours. ``output_transform`` gives ``(y_pred, y)`` from ``engine.state.output``; ``save_details`` keeps the
    scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> InstanceDice().attach(engine, "dice")
        >>> engine.run([(torch.eye(4)[None, None], torch.eye(4)[None, None])]).metrics["dice"]
        1.0
    """


class InstanceIoU(_MetricHandler, metric=metrics.InstanceIoUMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.InstanceIoUMetric`, in [0, 1], which explains the options.

    Source: ours. ``output_transform`` gives ``(y_pred, y)`` from ``engine.state.output``; ``save_details`` keeps the
    scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> InstanceIoU().attach(engine, "iou")
        >>> engine.run([(torch.ones(1, 1, 2, 2), torch.eye(2)[None, None])]).metrics["iou"]
        0.5
    """


class PanopticQuality(_MetricHandler, metric=metrics.PanopticQualityMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.PanopticQualityMetric`, in [0, 1], which explains the options.

    Given several names, it puts ``<name>_<score>`` for each into ``engine.state.metrics``.

    Source: ours. ``output_transform`` gives ``(y_pred, y)`` from ``engine.state.output``; ``save_details`` keeps the
    scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> PanopticQuality(metric_name=["pq", "sq"]).attach(engine, "lesion")
        >>> engine.run([(torch.eye(4)[None, None], torch.eye(4)[None, None])]).metrics
        {'lesion_pq': 1.0, 'lesion_sq': 1.0}
    """


class ComponentScore(_MetricHandler, metric=metrics.ComponentMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.ComponentMetric`, which explains the options.

    Source: ours. ``output_transform`` gives ``(y_pred, y)`` from ``engine.state.output``; ``save_details`` keeps the
    scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> from monai.metrics import DiceMetric
        >>> engine = Engine(lambda engine, batch: batch)
        >>> ComponentScore(DiceMetric()).attach(engine, "cc_dice")
        >>> engine.run([(torch.eye(4)[None, None], torch.eye(4)[None, None])]).metrics["cc_dice"]
        1.0
    """


class InstanceAveragePrecision(_MetricHandler, metric=metrics.InstanceAveragePrecisionMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.InstanceAveragePrecisionMetric`, in [0, 1], with its options.

    Source: ours. ``output_transform`` gives ``(probabilities, y)`` from ``engine.state.output``; ``save_details`` keeps
    one score a channel in ``engine.state.metric_details``, since a curve has no cases.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> InstanceAveragePrecision().attach(engine, "ap")
        >>> engine.run([(0.9 * torch.eye(4)[None, None], torch.eye(4)[None, None])]).metrics["ap"]
        1.0
    """


class InstanceFROC(_MetricHandler, metric=metrics.InstanceFROC):
    """Handler of :py:class:`monai_instance_loss.metrics.InstanceFROC`, in [0, 1], which explains the options.

    Source: ours. ``output_transform`` gives ``(probabilities, y)`` from ``engine.state.output``; ``save_details`` keeps
    one score a channel in ``engine.state.metric_details``, since a curve has no cases.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> InstanceFROC().attach(engine, "froc")
        >>> engine.run([(0.9 * torch.eye(4)[None, None], torch.eye(4)[None, None])]).metrics["froc"]
        1.0
    """


class WMHChallenge(_MetricHandler, metric=metrics.WMHChallengeMetric):
    """Handler of :py:class:`monai_instance_loss.metrics.WMHChallengeMetric`, which explains the options.

    It puts ``<name>_dsc``, ``_h95``, ``_avd``, ``_recall`` and ``_f1`` into ``engine.state.metrics``.

    Source: ours. ``output_transform`` gives ``(y_pred, y)`` from ``engine.state.output``; ``save_details`` keeps the
    scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> WMHChallenge(spacing_mm=(1, 1, 3)).attach(engine, "wmh")
        >>> mask = torch.zeros(1, 1, 6, 6, 6)
        >>> mask[0, 0, 2:4, 2:4, 2:4] = 1
        >>> engine.run([(mask, mask)]).metrics["wmh_f1"]
        1.0
    """
