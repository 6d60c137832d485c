"""The metrics as ignite handlers, so that a bundle can name them as its key metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.handlers import IgniteMetricHandler
from monai.utils import MetricReduction

from monai_instance_loss.metrics import (
    FalseInstancesMetric,
    InstanceCountMetric,
    InstanceF1Metric,
    MissedInstancesMetric,
)

__all__ = ["FalseInstances", "InstanceF1", "MissedInstances"]


def _identity(output: Any) -> Any:
    return output


class _InstanceMetricHandler(IgniteMetricHandler):
    def __init__(self, metric_fn: InstanceCountMetric, output_transform: Callable, save_details: bool) -> None:
        super().__init__(metric_fn=metric_fn, output_transform=output_transform, save_details=save_details)

    def compute(self) -> Any:
        """Aggregate, and keep the scores of each sample and channel, where MONAI would keep the raw counts."""
        result = super().compute()
        if self.save_details:
            scores = self.metric_fn.aggregate(MetricReduction.NONE)
            self._engine.state.metric_details[self._name] = scores[0] if isinstance(scores, tuple) else scores
        return result


class InstanceF1(_InstanceMetricHandler):
    """Handler of :py:class:`monai_instance_loss.metrics.InstanceF1Metric`, in [0, 1], which explains the options.

    Source: ours, in the manner of ``monai.handlers.MeanDice``.

    Args:
        output_transform: from ``engine.state.output`` to ``(y_pred, y)``, batches or lists of samples.
        save_details: whether to keep the scores of each sample and channel in ``engine.state.metric_details``.

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> engine = Engine(lambda engine, batch: batch)
        >>> InstanceF1(reduction="pooled").attach(engine, "instance_f1")
        >>> engine.run([(torch.ones(1, 1, 4, 4), torch.eye(4)[None, None])]).metrics["instance_f1"]
        1.0
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        output_transform: Callable = _identity,
        save_details: bool = True,
    ) -> None:
        metric = InstanceF1Metric(include_background, reduction, get_not_nans, connectivity, ignore_index)
        super().__init__(metric, output_transform, save_details)


class MissedInstances(_InstanceMetricHandler):
    """Handler of :py:class:`monai_instance_loss.metrics.MissedInstancesMetric`, which explains the options.

    As a key metric it needs a ``metric_cmp_fn`` that takes the smaller value for the better. Source,
    ``output_transform`` and ``save_details``: see ``InstanceF1``.

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> engine = Engine(lambda engine, batch: batch)
        >>> MissedInstances(as_rate=True).attach(engine, "missed")
        >>> engine.run([(torch.zeros(1, 1, 4, 4), torch.eye(4)[None, None])]).metrics["missed"]
        1.0
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        as_rate: bool = False,
        output_transform: Callable = _identity,
        save_details: bool = True,
    ) -> None:
        metric = MissedInstancesMetric(include_background, reduction, get_not_nans, connectivity, ignore_index, as_rate)
        super().__init__(metric, output_transform, save_details)


class FalseInstances(_InstanceMetricHandler):
    """Handler of :py:class:`monai_instance_loss.metrics.FalseInstancesMetric`, which explains the options.

    As a key metric it needs a ``metric_cmp_fn`` that takes the smaller value for the better. Source,
    ``output_transform`` and ``save_details``: see ``InstanceF1``.

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> engine = Engine(lambda engine, batch: batch)
        >>> FalseInstances().attach(engine, "false")
        >>> engine.run([(torch.eye(4)[None, None], torch.zeros(1, 1, 4, 4))]).metrics["false"]
        1.0
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        as_rate: bool = False,
        output_transform: Callable = _identity,
        save_details: bool = True,
    ) -> None:
        metric = FalseInstancesMetric(include_background, reduction, get_not_nans, connectivity, ignore_index, as_rate)
        super().__init__(metric, output_transform, save_details)
