"""Whether what clients saw can be explained by one order of their operations: ``check(history) -> Verdict``."""

from tests.linearizability.checker import Verdict, check
from tests.linearizability.history import Operation

__all__ = ["Operation", "Verdict", "check"]
