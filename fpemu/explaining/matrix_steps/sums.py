"""What a step of a matrix unit consists of: sums, each of addends that are aligned, cut off and rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from fpemu import exact
from fpemu.explaining.numbers import lowest_bit
from fpemu.formats import Format
from fpemu.reals import Real

# Rules of a step that can be taken out, to see what the result owes to them.
Rules = frozenset[str]


@dataclass(frozen=True)
class Addend:
    """A number that takes part in a sum.

    `place` is the last power of two that is kept of it (None: everything is), `down` whether it is
    rounded toward minus infinity there, not toward zero, `exponent` the one that the alignment sees
    (None for a zero that has none), `what` how it came about.
    """

    label: str
    value: Fraction
    exponent: int | None = None
    what: str = ""
    place: int | None = None
    down: bool = False
    left_out: bool = False
    accumulator: bool = False

    @property
    def kept(self) -> Fraction:
        """What is added."""
        if self.left_out:
            return Fraction(0)
        if self.place is None:
            return self.value
        unit = Fraction(2) ** self.place
        scaled = self.value / unit
        return (math.floor(scaled) if self.down else math.trunc(scaled)) * unit

    @property
    def cut(self) -> Fraction:
        """What is not added."""
        return self.value - self.kept

    @property
    def last(self) -> int | None:
        """The power of two of its last digit that is not 0, None for zero."""
        return lowest_bit(self.value) if self.value else None


@dataclass(frozen=True)
class Sum:
    """Addends, how they are aligned, the format and the way in which their sum is rounded, the result.

    `dropped` is a place below which the sum itself is rounded down before that.
    """

    name: str
    addends: tuple[Addend, ...]
    aligned: str
    rounded: str
    f: Format
    result: Real
    exponent: int | None = None
    place: int | None = None
    dropped: int | None = None

    @property
    def total(self) -> Fraction:
        """The sum of what is kept."""
        total = sum((addend.kept for addend in self.addends), Fraction(0))
        return total if self.dropped is None else floored(total, self.dropped)

    @property
    def end(self) -> int:
        """The last place of the format at the sum, behind which the rounding begins."""
        if not self.total:
            return min((p.last for p in self.addends if p.last is not None), default=0)
        top = exact.floor_log2(abs(self.total))
        return max(top, self.f.emin) - self.f.fraction_bits

    @property
    def cut(self) -> list[Addend]:
        """The addends that lose something."""
        return [addend for addend in self.addends if addend.cut]


@dataclass(frozen=True)
class Told:
    """The sums of a step in their order, and what it ends in. There are none where NaN or infinities
    among the operands decide, and no more from an overflow on."""

    sums: tuple[Sum, ...]
    result: Real


def placed(addends: Sequence[Addend], place: int, off: Rules, rule: str = "cut") -> list[Addend]:
    """The addends, cut off behind ``2**place`` unless `off` has the rule, for all or for one by its label."""
    return [
        addend
        if rule in off or f"{rule} {addend.label}" in off
        else replace(addend, place=place, down=rule == "down")
        for addend in addends
    ]


def floored(x: Fraction, place: int) -> Fraction:
    """The largest multiple of ``2**place`` that is not above `x`."""
    return math.floor(x / Fraction(2) ** place) * Fraction(2) ** place


def largest(addends: Sequence[Addend]) -> int | None:
    """The largest exponent, None if all are zeros without one."""
    return max((p.exponent for p in addends if p.exponent is not None), default=None)
