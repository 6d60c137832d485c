"""What of a data set is scored: which cases, and which classes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from monai_instance_loss.data.layouts import DataSet
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure
from monai_instance_loss.evaluation.scoring import Region, Scoring, parse_regions

__all__ = ["chosen_cases", "classes_of", "labels_in_no_class", "labels_nowhere"]


def classes_of(data: DataSet, texts: Sequence[str]) -> tuple[tuple[Region, ...], bool]:
    """The classes to score, none where masks are binary, and whether they are those that the data set declares.

    Args:
        data: the data set.
        texts: see ``parse_regions``; none takes what the data set declares.

    Raises:
        ValueError: as ``parse_regions``.
    """
    known = tuple(Region(name, values) for name, values in data.labels.items())
    if texts:
        return parse_regions(texts, known), False
    # a single class of value 1 is a binary mask, of which more can be checked
    return ((), True) if [region.values for region in known] == [(1,)] else (known, True)


def chosen_cases(
    cases: Sequence[CaseFiles], unpaired: Sequence[Failure], patterns: Sequence[str]
) -> tuple[list[CaseFiles], list[Failure]]:
    """The cases whose names match a pattern, and what of them has no partner; all without a pattern.

    Raises:
        ValueError: a pattern matches none.

    Example:
        >>> chosen_cases([], [], ["Utrecht/*"])
        Traceback (most recent call last):
        ValueError: Expected `Utrecht/*` to be the name of a case, or a pattern of some, but got no such case.
    """
    if not patterns:
        return list(cases), list(unpaired)
    names = {case.case for case in cases} | {failure.case for failure in unpaired}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            known = f" Cases are {', '.join(case.case for case in cases[:3])} ..." if cases else ""
            raise ValueError(
                f"Expected `{pattern}` to be the name of a case, or a pattern of some, but got no such case.{known}"
            )

    def chosen(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return [case for case in cases if chosen(case.case)], [failure for failure in unpaired if chosen(failure.case)]


def labels_nowhere(scoring: Scoring, found: set[int]) -> list[Failure]:
    """A failure for each label that was asked for and is in no mask.

    Args:
        scoring: the classes.
        found: the labels that are in any mask.

    Example:
        >>> labels_nowhere(Scoring(regions=(Region("ET", (4,)),)), {1, 2})[0].message
        'Expected the label 4 to be in some mask, but got the labels 1, 2 only.'
    """
    failures = []
    got = [str(label) for label in sorted(found)]
    shown = f"the labels {', '.join(got)} only" if got else "none"
    for region in scoring.regions:
        for value in region.values:
            if value not in found:
                message = f"Expected the label {value} to be in some mask, but got {shown}."
                failures.append(Failure(f"label {region.name}", None, message, missing=True))
    return failures


def labels_in_no_class(scoring: Scoring, found: set[int]) -> list[str]:
    """A remark where masks hold labels that no class has, and that are background then.

    Example:
        >>> labels_in_no_class(Scoring(regions=(Region("ET", (4,)),)), {2, 4})
        ['The labels 2 are in masks and in no class; they are read as background.']
    """
    left = found - {value for region in scoring.regions for value in region.values}
    shown = ", ".join(map(str, sorted(left)))
    return [f"The labels {shown} are in masks and in no class; they are read as background."] if left else []
