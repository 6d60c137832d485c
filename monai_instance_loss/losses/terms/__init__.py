"""The instance terms, as functions of an ``Overlap``."""

from monai_instance_loss.losses.terms.center import center_scores
from monai_instance_loss.losses.terms.detection import false_scores, fdr_scores, missed_scores, soft_f1_scores
from monai_instance_loss.losses.terms.proximity import proximity_scores
from monai_instance_loss.losses.terms.segmentation import pred_scores, true_scores

__all__ = [
    "center_scores",
    "false_scores",
    "fdr_scores",
    "missed_scores",
    "pred_scores",
    "proximity_scores",
    "soft_f1_scores",
    "true_scores",
]
