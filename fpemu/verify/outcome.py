"""What a check found."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Outcome:
    """How many results there were of each kind, and the first wrong one."""

    format: str
    op: str
    setting: str
    judge: str
    exact: int = 0
    rounded: int = 0
    overflowed: int = 0
    wrong: int = 0
    first_wrong: str = ""

    def add(self, inputs: np.ndarray, got: np.ndarray, want: np.ndarray, edge: float) -> None:
        """Count the results `got` for `inputs`, which are the exact values."""
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        over = np.isfinite(inputs) & (np.abs(inputs) >= edge)
        unchanged = (inputs == want) | (np.isnan(inputs) & np.isnan(want))
        self.tally((inputs,), got, want, ~unchanged | over, over)

    def tally(self, operands, got, want, inexact: np.ndarray, over: np.ndarray) -> None:
        """Count results of which it is known where they are inexact and where they overflowed."""
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        same = (got == want) & (np.signbit(got) == np.signbit(want))
        same |= np.isnan(got) & np.isnan(want)
        self.wrong += int(np.sum(~same))
        self.overflowed += int(np.sum(same & over))
        self.exact += int(np.sum(same & ~inexact & ~over))
        self.rounded += int(np.sum(same & inexact & ~over))
        if not same.all() and not self.first_wrong:
            i = int(np.flatnonzero(~same)[0])
            shown = ", ".join(repr(float(np.ravel(v)[i])) for v in operands)
            self.first_wrong = f"{shown} -> {float(got[i])!r}, want {float(want[i])!r}"


def total(outcomes: list[Outcome]) -> Outcome:
    """The sum of all counts."""
    fields = ("exact", "rounded", "overflowed", "wrong")
    sums: dict[str, Any] = {name: sum(getattr(o, name) for o in outcomes) for name in fields}
    first = next(itertools.chain((o.first_wrong for o in outcomes if o.first_wrong), [""]))
    return Outcome("total", "", "", "", **sums, first_wrong=first)
