"""Instance-level metrics: how many lesions are found, missed and made up, and how well they are segmented."""

from monai_instance_loss.metrics.base import InstanceMetric
from monai_instance_loss.metrics.challenge import WMHChallengeMetric, wmh_challenge_scores
from monai_instance_loss.metrics.component import ComponentMetric
from monai_instance_loss.metrics.confusion_matrix import (
    FalseInstancesMetric,
    InstanceConfusionMatrixMetric,
    InstanceF1Metric,
    MissedInstancesMetric,
)
from monai_instance_loss.metrics.froc import InstanceFROC
from monai_instance_loss.metrics.instance_overlap import InstanceDiceMetric, InstanceIoUMetric
from monai_instance_loss.metrics.matching import InstanceCounts, Matching, match_by_touch, match_instances
from monai_instance_loss.metrics.overlaps import OverlapTable, overlap_table
from monai_instance_loss.metrics.panoptic_quality import PanopticQuality, PanopticQualityMetric

__all__ = [
    "ComponentMetric",
    "FalseInstancesMetric",
    "InstanceConfusionMatrixMetric",
    "InstanceCounts",
    "InstanceDiceMetric",
    "InstanceF1Metric",
    "InstanceFROC",
    "InstanceIoUMetric",
    "InstanceMetric",
    "Matching",
    "MissedInstancesMetric",
    "OverlapTable",
    "PanopticQuality",
    "PanopticQualityMetric",
    "WMHChallengeMetric",
    "match_by_touch",
    "match_instances",
    "overlap_table",
    "wmh_challenge_scores",
]
