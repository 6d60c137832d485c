"""Ignite handlers: metrics, safe checkpoints, resuming, console lines, curves of the loss terms, a figure, a table."""

from monai_instance_loss._optional import require_extra

require_extra("ignite")

from monai_instance_loss.handlers.checkpoint import SafeCheckpointLoader, SafeCheckpointSaver
from monai_instance_loss.handlers.console import EvaluationConsole, TrainingConsole
from monai_instance_loss.handlers.figure import LesionFigureHandler
from monai_instance_loss.handlers.lesion_table import LesionTableSaver
from monai_instance_loss.handlers.loss_terms import LossTermsHandler
from monai_instance_loss.handlers.metrics import (
    ComponentScore,
    FalseInstances,
    InstanceAveragePrecision,
    InstanceConfusionMatrix,
    InstanceDice,
    InstanceF1,
    InstanceFROC,
    InstanceIoU,
    MissedInstances,
    PanopticQuality,
    WMHChallenge,
)
from monai_instance_loss.handlers.resume import ResumeHandler
from monai_instance_loss.handlers.terminate import TerminateOnNan

__all__ = [
    "ComponentScore",
    "EvaluationConsole",
    "FalseInstances",
    "InstanceAveragePrecision",
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
    "ResumeHandler",
    "SafeCheckpointLoader",
    "SafeCheckpointSaver",
    "TerminateOnNan",
    "TrainingConsole",
    "WMHChallenge",
]
