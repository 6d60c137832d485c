"""Folders of masks by the commands ``evaluate`` and ``tune``, and one case by the rules of a challenge.

One case: ``monai_instance_loss.evaluation.preset_scores.score_case``, which is ``evaluation.score_case`` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_instance_loss.evaluation.preset_scores import score_case as score_case

# what waits for torch is not among them: whoever goes through the list would import it
__all__: list[str] = []


def __getattr__(name: str) -> Any:
    # the command's help does not wait for torch
    if name == "score_case":
        from monai_instance_loss.evaluation import preset_scores

        return getattr(preset_scores, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
