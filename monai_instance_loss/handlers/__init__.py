"""Ignite handlers: the metrics for MONAI's engines, the curves of the loss terms, a figure. Needs pytorch-ignite."""

from monai_instance_loss.handlers.figure import LesionFigureHandler
from monai_instance_loss.handlers.loss_terms import LossTermsHandler
from monai_instance_loss.handlers.metrics import FalseInstances, InstanceF1, MissedInstances

__all__ = ["FalseInstances", "InstanceF1", "LesionFigureHandler", "LossTermsHandler", "MissedInstances"]
