"""What the speed suite's numbers are held against."""

from __future__ import annotations

from collections.abc import Iterable

from cases import NOISE
from labelling_speed import COPY, CUPY
from labelling_speed import OURS as LABELLING
from loss_speed import BASELINE, DENSE, FROM_MAP, LOOPED, OURS, PIXEL, VORONOI
from memory import CASES as MEMORY_CASES

AT = "60 lesions"
# of DiceCELoss's time, for any number of classes
CLASS_GOALS = {"2 % noise": 3, "untrained": 6}


def goals(result: dict) -> list[dict[str, object]]:
    """Name, value, goal and whether it holds; on 2x1x128^3 where nothing else is said.

    Values are None where what they need was not measured, or failed. What has no goal is there to be read.
    """
    rows = [
        _goal(f"{OURS} over {BASELINE}", _ratio(result, AT, OURS, "over_dicece"), "<=", 1.0),
        _goal(f"{FROM_MAP} over {BASELINE}", _ratio(result, AT, FROM_MAP, "over_dicece"), "<=", 1.4),
        _goal(f"{OURS} over {BASELINE}, 600 lesions", _ratio(result, "600 lesions", OURS, "over_dicece"), "<=", 1.5),
        _goal(f"{LOOPED} over {OURS}", _ratio(result, AT, LOOPED, "over_instance_loss"), ">=", 2000),
        _goal(f"{DENSE} over {OURS}", _ratio(result, AT, DENSE, "over_instance_loss"), ">=", 8),
        _goal(f"{VORONOI} over {OURS}", _ratio(result, AT, VORONOI, "over_instance_loss"), ">=", 8),
        _goal(f"{OURS}, 600 lesions over 60", _growth(result), "<=", 1.4),
        _goal(f"{DENSE} over {OURS}, {NOISE}", _ratio(result, NOISE, DENSE, "over_instance_loss"), ">=", 2),
    ]
    for name in MEMORY_CASES:
        peak = _found(result.get("memory", ()), "peak_maps", OURS, case=name)
        rows.append(_goal(f"{OURS}, peak extra memory in maps, {name}", peak, "<=", 4))
    for moment, most in CLASS_GOALS.items():
        known = [row for row in result.get("classes", ()) if row["moment"] == moment]
        slowest = max((row["time"]["median"] for row in known), default=None)
        largest = max((row["memory"] for row in known if "memory" in row), default=None)
        rows.append(_goal(f"{OURS} over {BASELINE}, most of all classes, {moment}", slowest, "<=", most))
        rows.append(_goal(f"the same in peak memory, {moment}", largest, "<=", 2))
    if str(result.get("device", "")).startswith("cuda"):
        rows += [
            _goal(f"{CUPY} over {LABELLING}", _labelling(result, CUPY)),
            _goal(f"{LABELLING} over {COPY}", _inverse(_labelling(result, COPY))),
            _goal(f"{OURS} over its pixel loss, ms", _overhead_ms(result)),
            _goal(f"{OURS} over its pixel loss, per cent of a bf16 step on the bundle's patch", _of_step(result)),
        ]
    return rows


def _goal(name: str, value: float | None, sign: str = "", goal: float | None = None) -> dict[str, object]:
    holds = None if value is None or goal is None else value <= goal if sign == "<=" else value >= goal
    return {
        "name": name,
        "value": None if value is None else round(value, 3),
        "goal": None if goal is None else f"{sign} {goal}",
        "holds": holds,
    }


def _found(rows: Iterable[dict], key: str, name: str, contenders: str = "losses", **where: str) -> object:
    """One number (or spread) of one contender in the row that is asked for."""
    for row in rows:
        if all(row[field] == value for field, value in where.items()):
            return row[contenders].get(name, {}).get(key)
    return None


def _ratio(result: dict, case: str, name: str, key: str) -> float | None:
    return _median(_found(result.get("losses", ()), key, name, size="medium", case=case))


def _labelling(result: dict, name: str) -> float | None:
    return _median(_found(result.get("labelling", ()), "over_ours", name, "methods", size="medium", case=AT))


def _growth(result: dict) -> float | None:
    # over DiceCE in the same rounds, whose time does not depend on lesions: the cases are measured one after the
    # other, and a shared machine is not as fast at one as at the other
    few, many = (_ratio(result, name, OURS, "over_dicece") for name in (AT, "600 lesions"))
    return None if few is None or many is None else many / few


def _overhead_ms(result: dict) -> float | None:
    pixel, ours = (_ratio(result, AT, name, "total_ms") for name in (PIXEL, OURS))
    return None if pixel is None or ours is None else ours - pixel


def _of_step(result: dict) -> float | None:
    step, moment = "bundle's patch", "mid-training"
    ratio = _median(_found(result.get("step", ()), "over_pixel", OURS, step=step, moment=moment))
    return None if ratio is None else 100 * (ratio - 1)


def _median(spread: object) -> float | None:
    return spread["median"] if isinstance(spread, dict) else None


def _inverse(value: float | None) -> float | None:
    return 1 / value if value else None
