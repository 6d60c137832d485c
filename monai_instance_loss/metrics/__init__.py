"""Instance-level metrics: how many lesions are found, missed and made up."""

from monai_instance_loss.metrics.base import InstanceCountMetric
from monai_instance_loss.metrics.false_instances import FalseInstancesMetric
from monai_instance_loss.metrics.instance_f1 import InstanceF1Metric
from monai_instance_loss.metrics.matching import InstanceCounts, match_by_touch
from monai_instance_loss.metrics.missed_instances import MissedInstancesMetric

__all__ = [
    "FalseInstancesMetric",
    "InstanceCountMetric",
    "InstanceCounts",
    "InstanceF1Metric",
    "MissedInstancesMetric",
    "match_by_touch",
]
