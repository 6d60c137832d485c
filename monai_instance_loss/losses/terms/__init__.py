"""The instance terms, one file each: functions of an overlap, and the losses' base that adds them up.

A term is a ``Term``: its value, given an ``Overlap`` and the loss that asks. A loss lists its terms by name.
"""

from monai_instance_loss.losses.terms.base import OverlapLoss, Term, TermsLoss
from monai_instance_loss.losses.terms.center import CENTER, center_scores
from monai_instance_loss.losses.terms.detection import (
    FALSE,
    FDR,
    MISSED,
    SOFT_F1,
    false_scores,
    fdr_scores,
    missed_scores,
    soft_f1_scores,
)
from monai_instance_loss.losses.terms.proximity import PROXIMITY, proximity_scores
from monai_instance_loss.losses.terms.segmentation import INSTANCE, INSTANCE_PRED, pred_scores, true_scores

__all__ = [
    "CENTER",
    "FALSE",
    "FDR",
    "INSTANCE",
    "INSTANCE_PRED",
    "MISSED",
    "PROXIMITY",
    "SOFT_F1",
    "OverlapLoss",
    "Term",
    "TermsLoss",
    "center_scores",
    "false_scores",
    "fdr_scores",
    "missed_scores",
    "pred_scores",
    "proximity_scores",
    "soft_f1_scores",
    "true_scores",
]
