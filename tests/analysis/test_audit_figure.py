"""The figure of an audit shows the numbers of the table."""

from __future__ import annotations

import math

import pytest
from matplotlib.figure import Figure
from torch.nn import BCEWithLogitsLoss

from monai_instance_loss.analysis import GradientRow, gradient_audit, plot_gradient_audit
from monai_instance_loss.losses import SoftInstanceF1Loss


@pytest.fixture(scope="module")
def tables():
    options = {
        "size_voxels": (1, 7, 40),
        "other_lesions": (0, 1, 3),
        "background_probability": (0.001, 0.02),
        "spatial_size": (24, 24),
        "other_size_voxels": 4,
    }
    bce = BCEWithLogitsLoss()
    return {
        "BCE": gradient_audit(bce, **options),
        "F1": gradient_audit(SoftInstanceF1Loss(sigmoid=True), **options),
        "worse": gradient_audit(lambda x, y: -bce(x, y), **options),
    }


def lines_of(axis) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines if line.get_marker() in "o^s"]


def signs_of(axis) -> list[tuple[str, list[float]]]:
    """What is drawn over points, and over which."""
    return [(line.get_marker(), list(line.get_xdata())) for line in axis.lines if line.get_marker() not in "o^s"]


@pytest.mark.parametrize(
    ("along", "at", "shown"),
    [
        ("size_voxels", None, {"other_lesions": 1, "background_probability": 0.02}),
        ("size_voxels", {"other_lesions": 0}, {"other_lesions": 0, "background_probability": 0.02}),
        ("other_lesions", {"size_voxels": 40}, {"size_voxels": 40, "background_probability": 0.02}),
        ("background_probability", None, {"size_voxels": 7, "other_lesions": 1}),
    ],
)
def test_lines_are_the_rows_of_the_table(tables, along, at, shown):
    figure = plot_gradient_audit(tables, along, at)
    assert isinstance(figure, Figure)
    assert [axis.get_title() for axis in figure.axes] == list(tables)
    for axis, rows in zip(figure.axes, tables.values(), strict=True):
        chosen = [row for row in rows if all(getattr(row, key) == value for key, value in shown.items())]
        expected = []
        for situation in ("false", "missed", "half_found"):
            of = [row for row in chosen if row.situation == situation]
            expected.append(([getattr(row, along) for row in of], [row.gradient_l1 for row in of]))
        assert lines_of(axis) == expected
        assert all(0 <= y < axis.get_ylim()[1] for _, values in expected for y in values)
    for value in shown.values():
        assert f": {value:g}" in figure.get_suptitle()


def test_signs_tell_the_direction(tables):
    helps, none, harms = plot_gradient_audit(tables, at={"other_lesions": 0}).axes
    assert signs_of(helps) == signs_of(none) == []
    assert signs_of(harms) == [("x", [1, 7, 40]), ("x", [1, 7, 40]), ("x", [7, 40])]


def test_a_gap_where_the_gradient_is_undefined():
    rows = [
        GradientRow("missed", size, 0, 0.1, norm, direction, 1.0, 1.0)
        for size, norm, direction in ((1, 15.0, "helps"), (2, math.nan, "undefined"), (3, 0.2, "mixed"))
    ]
    axis = plot_gradient_audit({"loss": rows}).axes[0]
    (line,) = (line for line in axis.lines if line.get_marker() == "^")
    assert [math.isnan(y) for y in line.get_ydata()] == [False, True, False]
    assert signs_of(axis) == [("_", [3])]
    assert axis.get_ylim() == (0, 100)
    # gaps alone
    assert plot_gradient_audit({"loss": rows[1:2]}).axes[0].get_ylim() == (0, 1)
    assert plot_gradient_audit({"loss": [rows[1], rows[0]]}).axes[0].get_ylim() == (0, 100)


def test_many_losses_wrap_and_all_are_drawn(tables, tmp_path):
    many = {f"loss {k}": tables["BCE"] for k in range(8)}
    figure = plot_gradient_audit(many)
    assert [axis.get_title() for axis in figure.axes if axis.axison] == list(many)
    figure.savefig(tmp_path / "figure.png", dpi=30)
    assert (tmp_path / "figure.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({},), "`tables` to hold rows, but got none"),
        (({"BCE": []},), "`tables` to hold rows, but got none in .'BCE'"),
        ((None, "size"), "`along` to be \"size_voxels\" or .*but got 'size'"),
        ((None, "size_voxels", {"size_voxels": 1}), "`at` to name some of .*but got .'size_voxels'"),
        ((None, "size_voxels", {"other_lesions": 2}), "`at` to give other_lesions one of .0, 1, 3., but got 2"),
    ],
)
def test_bad_arguments_are_named(tables, arguments, message):
    first, *rest = arguments
    with pytest.raises(ValueError, match=message):
        plot_gradient_audit(tables if first is None else first, *rest)
