"""Ignite handlers: the metrics for MONAI's engines, the curves of the loss terms, a figure, a table of lesions."""

from monai_instance_loss.handlers.figure import LesionFigureHandler
from monai_instance_loss.handlers.lesion_table import LesionTableSaver
from monai_instance_loss.handlers.loss_terms import LossTermsHandler
from monai_instance_loss.handlers.metrics import (
    ComponentScore,
    FalseInstances,
    InstanceConfusionMatrix,
    InstanceDice,
    InstanceF1,
    InstanceFROC,
    InstanceIoU,
    MissedInstances,
    PanopticQuality,
    WMHChallenge,
)

__all__ = [
    "ComponentScore",
    "FalseInstances",
    "InstanceConfusionMatrix",
    "InstanceDice",
    "InstanceF1",
    "InstanceFROC",
    "InstanceIoU",
    "LesionFigureHandler",
    "LesionTableSaver",
    "LossTermsHandler",
    "MissedInstances",
    "PanopticQuality",
    "WMHChallenge",
]
