"""What a loss does to lesions, measured before any training."""

from monai_instance_loss.analysis.audit_figure import plot_gradient_audit
from monai_instance_loss.analysis.gradient_audit import GradientRow, gradient_audit

__all__ = ["GradientRow", "gradient_audit", "plot_gradient_audit"]
