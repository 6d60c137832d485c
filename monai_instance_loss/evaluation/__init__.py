"""Folders of masks and probabilities: the commands ``evaluate`` and ``tune``, and the functions behind them."""

from __future__ import annotations
