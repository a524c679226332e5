"""One operation explained: operands, alignment, exact result, what was swamped, the rounding."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fpemu import exact
from fpemu.context import Arithmetic
from fpemu.display import stored
from fpemu.explaining import steps
from fpemu.explaining.aligned import Row, aligned
from fpemu.explaining.numbers import expansion, lowest_bit, portion
from fpemu.explaining.report import Section, columns
from fpemu.explaining.rounding import Rounding
from fpemu.explaining.twice import same
from fpemu.formats import Format
from fpemu.numerals import decimal, integer_times_power, last_place
from fpemu.reals import Number, Real, is_finite, is_infinite, is_negative, sign_of

SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
NAMES = "abc"


class Operation:
    """How `op` on `operands` (numbers, rounded to `f` first) comes out in `f`."""

    def __init__(
        self,
        op: str,
        operands: list[Number],
        written: list[str],
        f: Format,
        settings: Arithmetic,
        draw: steps.Away | None,
    ) -> None:
        self.op, self.f, self.settings = op, f, settings
        self.sections: list[Section] = []
        self.facts: dict[str, Any] = {"op": op, "operands": []}
        self.operands = [
            self._operand(name, x, said)
            for name, x, said in zip(NAMES, operands, written, strict=False)
        ]
        value, signal = exact.exact_result(
            op, *self.operands, rounding=settings.rounding, away=draw
        )
        place = steps.grid_of(value, f).place if value != 0 and is_finite(value) else None
        if place is not None:
            self._tell_working(value, place)
        elif signal:
            self._tell("signal", _signalled(signal))
        elif value == 0 and op in ("add", "subtract", "fma") and all(self.operands):
            self._tell("sum", "an exact zero from nonzero numbers is +0, but -0 in toward_negative")
        irrational = op == "sqrt" and is_finite(value) and Fraction(value) ** 2 != self.operands[0]
        rounding = Rounding(
            value, f, settings, draw, said=self.formula(), signal=signal, endless=irrational
        )
        self.sections += rounding.sections
        self.facts |= rounding.facts
        self.result = rounding.result
        self._tell_swamped(value)

    def _tell(self, label: str, *lines: str) -> None:
        self.sections.append((label, [[line] for line in lines]))

    def formula(self) -> str:
        """The operation on the operands as they were read."""
        said = [expansion(x) for x in self.operands]
        if self.op in SIGNS:
            shown = [f"({x})" if x.startswith("-") and i else x for i, x in enumerate(said)]
            return f" {SIGNS[self.op]} ".join(shown)
        return f"{self.op}({', '.join(said)})"

    def _operand(self, name: str, x: Number, said: str) -> Real:
        """`x` as the operation reads it: rounded to the format, under "daz" without subnormals."""
        f, settings = self.f, self.settings
        # An infinity of the format is a value like any other: it is what the operation makes of it
        # that may be saturated.
        own = is_infinite(x) and f.has_inf and (f.signed or x > 0)
        value = exact.round_to(x, f, saturation="none" if own else settings.saturation)
        bits = stored(value, f)
        row: dict[str, object] = {"name": name, "written": said, **bits}
        lines = columns([[*bits.values(), integer_times_power(value, f) or ""]])
        row["exact"] = same_number(x, value)
        if not row["exact"]:
            lines.append([f"{said} is not a number of {f.name}: first rounded to nearest even"])
        read = exact.read_operand(value, f, settings.subnormals)
        if not same(read, value):
            lines.append([f"subnormal, and {settings.subnormals} reads it as {expansion(read)}"])
        row["read"] = decimal(read)
        self.facts["operands"].append(row)
        self.sections.append((name, lines))
        return read

    # -- the exact result -----------------------------------------------------------------

    def _tell_working(self, value: Number, place: int) -> None:
        match self.op:
            case "add" | "subtract":
                a, b = self.operands
                self._tell_sum([("a", a), ("b", -b if self.op == "subtract" else b)], value, place)
            case "fma":
                a, b, c = self.operands
                product = Fraction(a) * Fraction(b)
                self._tell("product", f"a * b = {expansion(product)}, exact: not rounded")
                self._tell_sum([("a*b", product), ("c", c)], value, place)
            case "multiply":
                (m, e), (n, g) = (self._whole(x) for x in self.operands)
                room = max(0, exact.floor_log2(abs(Fraction(value))) - place + 1)
                self._tell(
                    "significands",
                    f"{m} * {n} = {m * n}, {(m * n).bit_length()} bits; {self.f.name} has room for "
                    f"{room} here",
                    f"exponents {e} + {_in_brackets(g)} = {e + g}",
                )
            case "divide":
                (m, e), (n, g) = (self._whole(x) for x in self.operands)
                ends = "ends" if lowest_bit(abs(Fraction(value))) is not None else "does not end"
                self._tell(
                    "significands",
                    f"{m} / {n}, which {ends} in binary",
                    f"exponents {e} - {_in_brackets(g)} = {e - g}",
                )
            case "sqrt":
                square = Fraction(value) ** 2 == self.operands[0]
                self._tell("root", "exact" if square else "irrational: its bits do not end")
        grid = steps.grid_of(value, self.f)
        if grid.rest:
            lost = grid.rest * Fraction(2) ** place
            self._tell(
                "cut off",
                f"behind the last place, 2**{place}, there is {expansion(lost)}: "
                f"{portion(grid.rest)} of it",
            )

    def _whole(self, x: Real) -> tuple[int, int]:
        """The significand of a finite operand as an integer, and the exponent to it."""
        place = last_place(x, self.f)
        return int(abs(Fraction(x)) / Fraction(2) ** place), place

    def _tell_sum(self, terms: list[tuple[str, Number]], value: Number, place: int) -> None:
        rows = [
            Row(name, is_negative(x), abs(Fraction(x)), self._last_shown(x)) for name, x in terms
        ]
        lowest = min(_lowest(x) for _, x in [*terms, ("", value)])
        rows.append(Row("sum", value < 0, abs(Fraction(value)), min(lowest, place)))
        told = [*aligned(rows, place), f"the bar stands behind the last place kept, 2**{place}"]
        if rows[0].magnitude and rows[1].magnitude:
            first, second = (exact.floor_log2(row.magnitude) for row in rows[:2])
            apart = abs(first - second)
            told.append(f"the leading bits are {apart} place{'s' * (apart != 1)} apart")
        self._tell("aligned", *told)

    def _last_shown(self, x: Number) -> int:
        """Down to which place a term is shown: its own last one, or further if it has more bits."""
        return min(last_place(x, self.f), _lowest(x))

    # -- swamped --------------------------------------------------------------------------

    def _tell_swamped(self, value: Number) -> None:
        """Whether a nonzero term left the other unchanged, and why."""
        self.facts["swamped"] = None
        if self.op not in ("add", "subtract", "fma") or self.result is None:
            return
        if not all(map(is_finite, (*self.operands, self.result))):
            return
        *factors, last = self.operands
        first: Number = (
            Fraction(factors[0]) * Fraction(factors[1]) if self.op == "fma" else factors[0]
        )
        second = -last if self.op == "subtract" else last
        names = ("the product", "c") if self.op == "fma" else ("a", "b")
        for name, other, small, big in (
            (names[1], names[0], second, first),
            (names[0], names[1], first, second),
        ):
            if small != 0 and self.result == big and big != 0:
                self.facts["swamped"] = name.removeprefix("the ")
                self._tell(
                    "swamped",
                    f"{name} is not zero and left {other} unchanged",
                    self._why(small, big, value),
                )
                return

    def _why(self, small: Number, big: Number, value: Number) -> str:
        grid = steps.grid_of(value, self.f) if value else None
        near = grid and abs(Fraction(big)) in (grid.inner, grid.outer) and grid.rest
        if not grid or not near:
            return "because of what the format does with the exact result, not of its size"
        gap = grid.outer - grid.inner
        part = abs(Fraction(small)) / gap
        mode = self.settings.rounding
        size = f"its magnitude is {portion(part)} of the gap of {expansion(gap)} to the next number"
        if not mode.startswith("nearest"):
            return f"{size}, and {mode} goes back over that"
        if part == Fraction(1, 2):
            return f"{size}: a tie, which goes back"
        return f"{size}, less than half: the nearest number is still {expansion(big)}"


def same_number(x: Number, value: Real) -> bool:
    """Whether rounding left a number as it was."""
    return (value == x and sign_of(value) == sign_of(x)) or (x != x and value != value)


def _lowest(x: Number) -> int:
    lowest = lowest_bit(abs(Fraction(x))) if x else None
    return 1 << 30 if lowest is None else lowest


def _in_brackets(n: int) -> str:
    return f"({n})" if n < 0 else str(n)


def _signalled(signal: str) -> str:
    if signal == "invalid":
        return "invalid: there is no such number, so it is NaN"
    return "divide_by_zero: a finite number over zero is an infinity, exactly"
