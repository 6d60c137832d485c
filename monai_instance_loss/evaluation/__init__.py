"""Evaluation of folders of masks: ``python -m monai_instance_loss evaluate``, and the functions behind it."""

from __future__ import annotations
