"""As much of PromQL as the alert rules of the documents need, over scrapes that a test has taken.

It differs from Prometheus in one thing: ``increase`` does not extrapolate to the ends of its range.
"""

from __future__ import annotations

import operator
import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LOOK_BACK_SECONDS = 300.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TOKEN = re.compile(r'\s*("[^"]*"|\d+[smhd]\b|\d+(?:\.\d+)?|[a-zA-Z_]\w*|[<>=!]=|[-+*/<>(){}\[\],=])')
_COMPARISONS = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_SUMS = {"+": operator.add, "-": operator.sub}
_PRODUCTS = {"*": operator.mul, "/": operator.truediv}

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]


def _increase(values: Sequence[float]) -> float:
    return sum(now - before if now >= before else now for before, now in pairwise(values))


_OVER_TIME: dict[str, Callable[[Sequence[float]], float]] = {
    "increase": _increase,
    "max_over_time": max,
    "min_over_time": min,
}
_OVER_SERIES: dict[str, Callable[[Iterable[float]], float]] = {"max": max, "min": min, "sum": sum}


class Sample(NamedTuple):
    at: float
    name: str
    labels: Labels
    value: float


class Scrapes:
    """What a server of Prometheus has, of all targets."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def take(self, at: float, exposition: bytes, **target: str) -> None:
        """``target``: the labels that the server adds, such as ``job`` and ``instance``."""
        for family in text_string_to_metric_families(exposition.decode()):
            for each in family.samples:
                labels = frozenset({**each.labels, **target}.items())
                self.samples.append(Sample(at, each.name, labels, each.value))

    def evaluate(self, expression: str, now: float) -> Vector:
        """The series for which the expression holds, with their values."""
        return _Parser(self, expression, now).whole()

    def fires(self, expression: str, now: float, *, held: float = 0.0, every: float = 15.0) -> bool:
        """Whether it holds now, and has at every look of the last ``held`` seconds."""
        looks = [now - back * every for back in range(int(held // every) + 1)]
        return all(self.evaluate(expression, at) for at in looks)


class _Parser:
    """Evaluates while it reads."""

    def __init__(self, scrapes: Scrapes, expression: str, now: float) -> None:
        self._scrapes, self._now = scrapes, now
        self._tokens = _TOKEN.findall(expression)
        assert "".join(self._tokens) == re.sub(r"\s", "", expression), f"this is not understood: {expression}"

    def whole(self) -> Vector:
        found = self._comparison()
        assert not self._tokens, f"this is left over: {self._tokens}"
        assert isinstance(found, dict)
        return found

    def _take(self, *wanted: str) -> str:
        """The next token, if it is one of these, or any; empty: it is another."""
        if not self._tokens or (wanted and self._tokens[0] not in wanted):
            return ""
        token: str = self._tokens.pop(0)
        return token

    def _need(self, token: str) -> None:
        assert self._take(token), f"{token} is missing before {self._tokens}"

    def _comparison(self) -> Vector | float:
        left = self._sum()
        if not (sign := self._take(*_COMPARISONS)):
            return left
        right, holds = self._sum(), _COMPARISONS[sign]
        assert isinstance(left, dict)
        assert isinstance(right, float), "a vector is compared with a number"
        return {labels: value for labels, value in left.items() if holds(value, right)}

    def _sum(self) -> Vector | float:
        left = self._product()
        while sign := self._take(*_SUMS):
            left = _combined(left, self._product(), _SUMS[sign])
        return left

    def _product(self) -> Vector | float:
        left = self._term()
        while sign := self._take(*_PRODUCTS):
            on = self._names() if self._take("on") else None
            carried = self._names() if self._take("group_left") else ()
            left = _combined(left, self._term(), _PRODUCTS[sign], on, carried)
        return left

    def _term(self) -> Vector | float:
        token = self._take()
        if token == "(":
            found = self._comparison()
            self._need(")")
            return found
        if re.fullmatch(r"[\d.]+", token):
            return float(token)
        if token in _OVER_SERIES and self._tokens[0] in {"by", "("}:
            return self._over_series(_OVER_SERIES[token])
        if token in _OVER_TIME and self._tokens[0] == "(":
            self._need("(")
            series = self._selected(self._take())
            self._need(")")
            return {labels: _OVER_TIME[token](values) for labels, values in series.items()}
        return {labels: values[-1] for labels, values in self._selected(token).items()}

    def _over_series(self, function: Callable[[Iterable[float]], float]) -> Vector:
        by = self._names() if self._take("by") else ()
        self._need("(")
        found = self._comparison()
        self._need(")")
        assert isinstance(found, dict)
        groups: dict[Labels, list[float]] = {}
        for labels, value in found.items():
            groups.setdefault(_only(labels, by), []).append(value)
        return {labels: function(values) for labels, values in groups.items()}

    def _selected(self, name: str) -> dict[Labels, list[float]]:
        wanted, seconds = set[tuple[str, str]](), LOOK_BACK_SECONDS
        if self._take("{"):
            while not self._take("}"):
                label = self._take()
                self._need("=")
                wanted.add((label, self._take().strip('"')))
                self._take(",")
        if self._take("["):
            seconds = _duration(self._take())
            self._need("]")
        until = self._now - (_duration(self._take()) if self._take("offset") else 0.0)
        series: dict[Labels, list[float]] = {}
        for each in self._scrapes.samples:
            if each.name == name and wanted <= each.labels and until - seconds < each.at <= until:
                series.setdefault(each.labels, []).append(each.value)
        return series

    def _names(self) -> tuple[str, ...]:
        self._need("(")
        names = []
        while not self._take(")"):
            names.append(self._take())
            self._take(",")
        return tuple(names)


def _combined(
    left: Vector | float,
    right: Vector | float,
    function: Callable[[float, float], float],
    on: Sequence[str] | None = None,
    carried: Sequence[str] = (),
) -> Vector | float:
    """``carried``: labels of the right side that the result has too."""
    if isinstance(left, float) and isinstance(right, float):
        return function(left, right)
    if isinstance(right, float):
        assert isinstance(left, dict)
        return {labels: function(value, right) for labels, value in left.items()}
    assert isinstance(left, dict), "a number stands on the right"
    others = {_only(labels, on): (labels, value) for labels, value in right.items()}
    assert len(others) == len(right), f"several series match by {on}"
    return {
        labels | _only(others[_only(labels, on)][0], carried): function(value, others[_only(labels, on)][1])
        for labels, value in left.items()
        if _only(labels, on) in others
    }


def _only(labels: Labels, names: Sequence[str] | None) -> Labels:
    return labels if names is None else frozenset(each for each in labels if each[0] in names)


def _duration(token: str) -> float:
    return float(token[:-1]) * _SECONDS[token[-1]]
