"""What happens in a sum, as an observer of its steps sees it: firsts, counts, and samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from fpemu import exact
from fpemu.context import Arithmetic
from fpemu.exact.accumulation import GROWTH, Step
from fpemu.reals import Number, Real, is_finite, is_infinite, is_nan, is_negative, size_of

# In the order in which they are told where one step is the first of several.
EVENTS = {
    "inexact": "inexact addition",
    "swamped": "swamped addition",
    "total swamped": "addition that swamped the total",
    "cancellation": "cancellation",
    "largest cancellation": "largest cancellation",
    "subnormal": "subnormal total",
    "flushed": "total flushed to zero",
    "overflow": "overflow",
    "infinite": "infinite total",
    "invalid": "invalid addition",
    "nan": "NaN",
}
LEAST_CANCELLED = 2  # one leading bit goes in ordinary differences, as in 8 - 1


@dataclass(frozen=True)
class Addition:
    """A step that made a sum larger by something, and its number among all additions."""

    number: int
    step: Step

    @property
    def before(self) -> Real:
        """The running total."""
        return self.step.read[self.step.total]

    @property
    def addend(self) -> Real:
        """What is added to it."""
        return self.step.read[1 - self.step.total]

    @property
    def error(self) -> Fraction | None:
        """What rounding has added to the total so far, None if that is no number."""
        if not is_finite(self.step.result) or not is_finite(self.step.truth):
            return None
        return Fraction(self.step.result) - Fraction(self.step.truth)

    @property
    def cancelled(self) -> int | None:
        """How many leading bits cancel; None if all of them."""
        if self.step.value == 0:
            return None
        top = max(abs(Fraction(self.before)), abs(Fraction(self.addend)))
        return exact.floor_log2(top) - exact.floor_log2(abs(Fraction(self.step.value)))


@dataclass
class Stall:
    """Swamped additions without a break: the first of them, how many, how large the addends."""

    first: Addition
    count: int
    smallest: Real
    largest: Real
    lost: Fraction


@dataclass
class Watch:
    """The observer: call it with every step of one sum, then `end`.

    `firsts` has the first addition of each of `EVENTS`, `counts` how many there were, `samples` the
    additions whose number is a power of two, and `last`. `lost` is the exact sum of what swamped
    additions dropped, and `stopped` the ones at the end, if the sum ended in at least two. `stalls`
    counts the parts that ended so, and `first_stall` is the first of those. Corrections of
    compensated sums are counted, but are no additions.
    """

    settings: Arithmetic
    firsts: dict[str, Addition] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    samples: list[Addition] = field(default_factory=list)
    last: Addition | None = None
    additions: int = 0
    corrections: int = 0
    rounded_terms: int = 0
    read_as_zero: int = 0
    first_rounded: Step | None = None
    lost: Fraction = Fraction(0)
    stopped: Stall | None = None
    stalls: int = 0
    first_stall: Stall | None = None
    _stall: Stall | None = None
    _chain: tuple[str, str] = ("", "")
    _most: float = LEAST_CANCELLED - 1

    def __call__(self, step: Step) -> None:
        """Take note of a step."""
        if step.role in GROWTH:
            self._add(step)
        elif step.role == "correction":
            self.corrections += 1
        elif step.role == "rounded term":
            self._take_term(step)

    def end(self) -> None:
        """The sum is over."""
        if self._stall and self._stall.count > 1:
            self.stopped = self._stall
        self._close()

    def _take_term(self, step: Step) -> None:
        term = step.given[0][0]
        if step.read[0] != term and not is_nan(term):
            self.read_as_zero += 1
        if step.result != step.value and not is_nan(step.value):
            self.rounded_terms += 1
            self.first_rounded = self.first_rounded or step

    def _note(self, event: str, addition: Addition) -> None:
        self.firsts.setdefault(event, addition)
        self.counts[event] = self.counts.get(event, 0) + 1

    def _add(self, step: Step) -> None:
        self.additions += 1
        now = self.last = Addition(self.additions, step)
        if self.additions & (self.additions - 1) == 0:
            self.samples.append(now)
        chain = (step.role, step.part if step.role != "part" else "")
        if chain != self._chain:
            self._close()
            self._chain = chain
        value, result = step.value, step.result
        if not is_finite(value):
            self._note_special(now)
        elif result != value:
            self._note_inexact(now)
        elif result != 0 and size_of(result) < step.f.smallest_normal:
            self._note("subnormal", now)
        if is_finite(value):
            self._note_cancellation(now)
            self._note_swamped(now)

    def _note_special(self, now: Addition) -> None:
        step = now.step
        if step.signal:
            self._note("invalid", now)
        if is_nan(step.result):
            self._note("nan", now)
        elif is_infinite(step.result):
            self._note("infinite", now)

    def _note_inexact(self, now: Addition) -> None:
        step = now.step
        self._note("inexact", now)
        if is_nan(step.result) or size_of(step.result) >= step.f.max:
            if "overflow" in self._flags(step):
                self._note("overflow", now)
            if is_nan(step.result):
                self._note("nan", now)
            elif is_infinite(step.result):
                self._note("infinite", now)
        elif step.result == 0:
            self._note("flushed", now)
        elif size_of(step.result) < step.f.smallest_normal:
            self._note("subnormal", now)

    def _flags(self, step: Step) -> set[str]:
        settings = self.settings
        return exact.flags_of_rounding(
            step.value,
            step.f,
            away=step.away,
            rounding=settings.rounding,
            saturation=settings.saturation,
            subnormals=settings.subnormals,
        )

    def _note_cancellation(self, now: Addition) -> None:
        a, b = now.before, now.addend
        if a == 0 or b == 0 or is_negative(a) == is_negative(b):
            return
        bits = now.cancelled
        size = math.inf if bits is None else bits
        if size >= LEAST_CANCELLED:
            self._note("cancellation", now)
        if size > self._most:
            self._most, self.firsts["largest cancellation"] = size, now

    def _note_swamped(self, now: Addition) -> None:
        before, addend, result = now.before, now.addend, now.step.result
        lost: Number = 0
        if addend != 0 and result == before and is_finite(before):
            lost = addend
        elif before != 0 and result == addend:
            if now.step.role != "pair":
                self._note("total swamped", now)
            else:
                lost = before
        if lost == 0:
            if addend != 0:
                self._stall = None
            return
        self._note("swamped", now)
        size = size_of(addend)
        if self._stall is None:
            self._stall = Stall(now, 0, size, size, -self.lost)
        self.lost += Fraction(lost)
        stall = self._stall
        stall.count += 1
        stall.smallest, stall.largest = min(stall.smallest, size), max(stall.largest, size)

    def _close(self) -> None:
        """The additions to one total are over."""
        if self._stall and self._stall.count > 1:
            self._stall.lost += self.lost
            self.stalls += 1
            self.first_stall = self.first_stall or self._stall
        self._stall = None
