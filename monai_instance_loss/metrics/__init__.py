"""Instance-level metrics: how many lesions are found, missed and made up, and how well they are segmented."""

from monai_instance_loss.metrics.average_precision import InstanceAveragePrecisionMetric
from monai_instance_loss.metrics.base import InstanceMetric
from monai_instance_loss.metrics.challenge import WMHChallengeMetric, wmh_challenge_scores
from monai_instance_loss.metrics.component import ComponentMetric
from monai_instance_loss.metrics.confusion_matrix import (
    FalseInstancesMetric,
    InstanceConfusionMatrixMetric,
    InstanceF1Metric,
    MissedInstancesMetric,
)
from monai_instance_loss.metrics.coverage import Coverage, detect_by_coverage
from monai_instance_loss.metrics.froc import InstanceFROC
from monai_instance_loss.metrics.instance_overlap import InstanceDiceMetric, InstanceIoUMetric
from monai_instance_loss.metrics.matching import InstanceCounts, Matching, match_by_touch, match_instances
from monai_instance_loss.metrics.merging import MergedInstances, drop_small, merge_nearby
from monai_instance_loss.metrics.overlaps import OverlapTable, overlap_table
from monai_instance_loss.metrics.panoptic_quality import PanopticQuality, PanopticQualityMetric
from monai_instance_loss.metrics.surface import (
    SurfaceDistances,
    average_surface_distance,
    hausdorff_distance,
    instance_surface_distances,
    surface_dice,
    surface_distances,
)
from monai_instance_loss.metrics.thresholds import area_under_thresholds, match_at_thresholds

__all__ = [
    "ComponentMetric",
    "Coverage",
    "FalseInstancesMetric",
    "InstanceAveragePrecisionMetric",
    "InstanceConfusionMatrixMetric",
    "InstanceCounts",
    "InstanceDiceMetric",
    "InstanceF1Metric",
    "InstanceFROC",
    "InstanceIoUMetric",
    "InstanceMetric",
    "Matching",
    "MergedInstances",
    "MissedInstancesMetric",
    "OverlapTable",
    "PanopticQuality",
    "PanopticQualityMetric",
    "SurfaceDistances",
    "WMHChallengeMetric",
    "area_under_thresholds",
    "average_surface_distance",
    "detect_by_coverage",
    "drop_small",
    "hausdorff_distance",
    "instance_surface_distances",
    "match_at_thresholds",
    "match_by_touch",
    "match_instances",
    "merge_nearby",
    "overlap_table",
    "surface_dice",
    "surface_distances",
    "wmh_challenge_scores",
]
