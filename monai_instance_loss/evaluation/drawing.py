"""The pictures of a report, each drawn by itself: one that fails is named, and costs no other and no number."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from monai_instance_loss._optional import import_extra
from monai_instance_loss.evaluation.case import CaseScores
from monai_instance_loss.evaluation.figures import agreement_figure, sensitivity_figure
from monai_instance_loss.evaluation.froc_figure import froc_figure
from monai_instance_loss.evaluation.key_images import key_image, worst_cases
from monai_instance_loss.evaluation.pairing import CaseFiles
from monai_instance_loss.evaluation.report import Picture
from monai_instance_loss.evaluation.scoring import Scoring
from monai_instance_loss.evaluation.statistics import MIN_CASES
from monai_instance_loss.evaluation.summary import masks_point

__all__ = ["Drawing", "chart_drawings", "key_drawings"]

rc_context = import_extra("matplotlib", "rc_context")

# names of cases and models are text, whatever the settings of the user: "$\foo{$" is no formula
_PLAIN_TEXT = {"text.parse_math": False, "text.usetex": False}


@dataclass(frozen=True)
class Drawing:
    """A picture that is still to be drawn.

    Attributes:
        draw: makes the ``matplotlib.figure.Figure``, and a remark for the caption.
        blank: the picture without its image.
    """

    draw: Callable[[], tuple[Any, str]]
    blank: Picture

    def drawn(self) -> Picture:
        """The picture; where drawing fails, the blank one with the error.

        Example:
            >>> def broken():
            ...     raise ValueError("no ink")
            >>> Drawing(broken, Picture(None, "A chart", "How to read it.")).drawn()
            Picture(png=None, alt='A chart', caption='How to read it.', error='ValueError: no ink')
        """
        try:
            with rc_context(_PLAIN_TEXT):
                figure, remark = self.draw()
                png = io.BytesIO()
                figure.savefig(png, format="png", bbox_inches="tight")
        except Exception as error:  # one figure must not cost the others
            return replace(self.blank, error=f"{type(error).__name__}: {error}")
        return replace(self.blank, png=png.getvalue(), caption=f"{self.blank.caption} {remark}".strip())


def chart_drawings(scores: Mapping[str, Sequence[CaseScores]], summary: Mapping[str, Any]) -> Iterator[Drawing]:
    """The charts of all cases.

    Args:
        scores: of each model.
        summary: what ``summary.json`` holds.
    """
    models = summary["models"]
    first = next(iter(models))
    yield _chart(
        partial(sensitivity_figure, {name: model["strata"] for name, model in models.items()}),
        "Sensitivity to lesions against their volume",
        "Each point is a stratum of volume (grey lines), at the geometric mean of its lesions; n is their number, "
        f"for {first}. Bars and bands are exact 95 % intervals, which take lesions for "
        "independent.",
    )
    yield _chart(
        partial(agreement_figure, scores, {name: model["agreement"] for name, model in models.items()}),
        "Bland-Altman plots of the number of lesions and of their volume",
        "Each point is a case. Solid line: bias; dashed lines: 95 % limits of agreement (bias +- 1.96 SD), which "
        f"are drawn of {MIN_CASES} cases or more. Above 0 the prediction has more.",
    )
    froc = summary["froc"]
    if froc is not None:
        point = masks_point(models[first], froc)
        yield _chart(
            partial(froc_figure, first, froc, point),
            "FROC curve",
            f"Of {froc['cases']} cases with a probability map. Candidates are components of probabilities of "
            f"{froc['threshold']:g} or more. Small numbers are thresholds: candidates count whose largest probability "
            "is no lower. Between two of them sensitivity is linear in false lesions, and so a bent line on this axis, "
            "which is logarithmic from 0.125 on.",
        )


def key_drawings(
    model: str, scores: Sequence[CaseScores], files: Mapping[str, CaseFiles], scoring: Scoring
) -> Iterator[Drawing]:
    """The worst cases of a model.

    Args:
        model: its name.
        scores: its scores.
        files: of each case.
        scoring: as in ``score_files``.
    """
    for case in worst_cases(scores):
        errors = (
            f"{case.n_missed} of {case.n_true} lesions missed, {case.n_false} of {case.n_pred} predicted ones false"
        )
        shown = f"{model}, {case.label}" if case.label else model
        caption = f"{case.case}, {shown}: lesion F1 {case.f1:.3f}; {errors}."
        blank = Picture(None, f"Key image of case {case.case}: {errors}", caption)
        yield Drawing(partial(key_image, files[case.case], model, scoring, case.label), blank)


def _chart(figure: Callable[[], Any], alt: str, caption: str) -> Drawing:
    return Drawing(lambda: (figure(), ""), Picture(None, alt, caption))
