"""What a run says: lines judged against their targets, as JSON for programs and as a table for people."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scribe_ledger.bench.targets import Line
    from scribe_ledger.bench.timing import Measured

FORMAT = 1


def lines(runs: Sequence[Mapping[str, Measured]], asked: Iterable[Line], *, judging: bool) -> list[dict[str, Any]]:
    """The lines of the table that were measured, in its order, of one or more runs of the same rows.

    Of several runs each line is taken whole from the one that is its median, so that a ratio never mixes two runs.
    ``judging`` is False where sizes are too small for a target to mean anything.
    """
    found = {line: [run[line.name] for run in runs if line.name in run] for line in asked}
    return [_line(line, measured, judging) for line, measured in found.items() if measured]


def _line(line: Line, runs: Sequence[Measured], judging: bool) -> dict[str, Any]:
    ranked = sorted(runs, key=lambda run: _judged_value(line, run) or 0.0)
    chosen = ranked[(len(ranked) - 1) // 2]
    value = _judged_value(line, chosen)
    beside = [
        {"name": name, "figure": figure, "ratio": _ratio(chosen["figure"], figure)}
        for name, figure in chosen["beside"].items()
    ]
    return {
        "name": line.name,
        "row": line.row,
        "title": line.title,
        "unit": line.unit,
        "figure": chosen["figure"],
        "beside": beside,
        "ratio": beside[0]["ratio"] if beside else None,
        "judged": line.judged,
        "at_most": line.at_most,
        "target": line.target,
        "target_met": line.reached(value, line.target) if judging else None,
        "goal": line.goal,
        "goal_met": line.reached(value, line.goal) if judging else None,
        "blocks": chosen.get("blocks", {}),
        "details": chosen.get("details", {}),
        "runs": [{"figure": run["figure"], "ratio": _first_ratio(run)} for run in runs],
    }


def _judged_value(line: Line, run: Measured) -> float | None:
    return run["figure"] if line.judged == "figure" else _first_ratio(run)


def _first_ratio(run: Measured) -> float | None:
    return next((_ratio(run["figure"], figure) for figure in run["beside"].values()), None)


def _ratio(figure: float, beside: float) -> float | None:
    return figure / beside if beside else None


# --- for people ------------------------------------------------------------------------------------------------

_HEADINGS = ("", "figure", "ratio", "beside", "target", "goal")


def table(judged: Sequence[Mapping[str, Any]]) -> str:
    """A line a figure, and one more for everything else that stands beside it."""
    rows = [_HEADINGS, *(row for line in judged for row in _rows(line))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(starmap(str.ljust, zip(row, widths, strict=True))).rstrip() for row in rows)


def _rows(line: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    first, *more = line["beside"] or [None]
    yield (
        line["title"],
        f"{number(line['figure'])} {line['unit']}",
        *_beside(first),
        _asked(line, "target"),
        _asked(line, "goal"),
    )
    for other in more:
        yield ("", "", *_beside(other), "", "")


def _beside(other: Mapping[str, Any] | None) -> tuple[str, str]:
    if other is None:
        return "", ""
    ratio = "" if other["ratio"] is None else f"{other['ratio']:.2f}"
    return ratio, f"{number(other['figure'])} {other['name']}"


def _asked(line: Mapping[str, Any], which: str) -> str:
    asked = line[which]
    if asked is None:
        return ""
    what = f"{'≤' if line['at_most'] else '≥'} {number(asked)}{' ratio' if line['judged'] == 'ratio' else ''}"
    return what + {True: " met", False: " SHORT", None: ""}[line[f"{which}_met"]]


def details(judged: Sequence[Mapping[str, Any]]) -> str:
    """What does not fit in the table: where time and bytes go, and figures without a target."""
    text: list[str] = []
    for line in judged:
        found = {name: value for name, value in line["details"].items() if value not in (None, {}, [])}
        if found:
            text.append(f"{line['title'].strip()}:")
            for name, value in found.items():
                text += [f"  {shown}" for shown in _detail(name.replace("_", " "), value)]
    return "\n".join(text)


def _detail(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield f"{name}:"
        rows = [tuple(key.replace("_", " ") for key in value[0]), *(tuple(map(_cell, row.values())) for row in value)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  " + "  ".join(starmap(str.ljust, zip(row, widths, strict=True))).rstrip()
    elif isinstance(value, dict):
        yield f"{name}: " + ", ".join(
            f"{key.replace('_', ' ')} {_cell(found)}" for key, found in value.items() if not isinstance(found, list)
        )
    else:
        yield f"{name}: {_cell(value)}"


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else str(value)


def number(value: float) -> str:
    """Short, with as many digits as mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
