"""One rounding explained: the sections of its text and the facts behind them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fpemu import exact
from fpemu.context import Arithmetic
from fpemu.display import neighbours, split_bits, stored, written_code
from fpemu.explaining import flags, steps, twice, words
from fpemu.explaining.numbers import binary, expansion, lowest_bit, portion, signed
from fpemu.explaining.report import Section, columns
from fpemu.explaining.steps import Grid, Outcome
from fpemu.formats import Format
from fpemu.numerals import integer_times_power, last_place, ulps
from fpemu.reals import Number, Real, is_finite, is_nan, is_negative


class Rounding:
    """How `x` is rounded to `f`: `sections`, `facts` and `result`.

    `draw` decides stochastic rounding; without it both outcomes are told, and `result` is None.
    `said` is how the caller wrote `x`, `signal` what an operation that led to it signalled, and
    `endless` says that `x` stands for an irrational number.
    """

    def __init__(
        self,
        x: Number,
        f: Format,
        settings: Arithmetic,
        draw: steps.Away | None,
        *,
        said: str = "",
        signal: str = "",
        endless: bool = False,
    ) -> None:
        self.x, self.f, self.settings, self.draw, self.said = x, f, settings, draw, said
        self.signal, self.endless = signal, endless
        self.sections: list[Section] = []
        self.facts: dict[str, Any] = {
            "format": f.name,
            "rounding": settings.rounding,
            "saturation": settings.saturation,
            "subnormals": settings.subnormals,
            "exact": expansion(x),
        }
        self.result: Real | None = None
        if x != 0 and is_finite(x):
            self._explain_finite()
        else:
            self.result = steps.special(x, f, settings)
            value = expansion(x)
            self._tell("exact value", value if said in ("", value) else f"{said} = {value}")
            if not signal:
                self._tell("rule", words.of_special(x, f, settings, self.result))
            elif self.result is not None:
                rule = f"as for any {'NaN' if is_nan(x) else 'infinity'} in {f.name}"
                self._tell("rule", f"{rule}, the result is {words.said(self.result)}")
        self._tell_result()

    def _tell(self, label: str, *lines: str) -> None:
        self.sections.append((label, [[line] for line in lines]))

    # -- a finite number ------------------------------------------------------------------

    def _explain_finite(self) -> None:
        x, f = self.x, self.f
        grid = steps.grid_of(x, f)
        away = steps.decision(x, grid, self.settings, self.draw)
        self._tell("exact value", *self._exact_value(grid))
        self._tell("grid", self._spacing(grid))
        outcomes = [
            steps.outcome(x, f, grid, choice, self.settings)
            for choice in ([False, True] if away is None else [away])
        ]
        if grid.rest:
            self._tell_between(grid, away)
        elif grid.inner <= Fraction(f.max) and outcomes[0].rule == "":
            self._tell("exact", f"it is a number of {f.name}: nothing to round, in any mode")
            below, above = neighbours(outcomes[0].result, f)
            self._tell_neighbours(below, above, "next below", "next above")
        else:
            self._tell("exact", "it lies on the grid: nothing to round")
        for each in outcomes:
            for label, sentences in words.after(x, f, grid, each, self.settings):
                self._tell(label, *sentences)
        if "daz" in self.settings.subnormals and grid.exponent < f.emin:
            self._tell("subnormal", "daz concerns operands: a rounding reads its number as it is")
        self.facts["ulp"] = f"2**{grid.place}"
        if away is None:
            self._tell_both(outcomes)
        else:
            self.result = outcomes[0].result

    def _exact_value(self, grid: Grid) -> list[str]:
        magnitude, sign = abs(Fraction(self.x)), "-" if self.x < 0 else ""
        number = expansion(self.x)
        lines = [number if self.said in ("", number) else f"{self.said} = {number}"]
        if isinstance(self.x, float) and self.said == repr(self.x) != number:
            lines = [f"{self.said}, which as a float64 is {number}"]
        ends = lowest_bit(magnitude) is not None and not self.endless
        never = "" if ends else " (without end)"
        lines.append(f"{sign}{binary(magnitude, grid.place)}{never} in binary")
        return lines

    def _spacing(self, grid: Grid) -> str:
        f, e, gap = self.f, grid.exponent, f"2**{grid.place}"
        apart = f"{gap} = {expansion(Fraction(2) ** grid.place)} apart (1 ulp)"
        if e < f.emin:
            normal = "smallest normal" if f.has_zero else "smallest number"
            return f"below the {normal}, 2**{f.emin}: numbers are {apart}"
        if e > f.emax:
            return (
                f"2**{e} <= |x| < 2**{e + 1}, above all numbers of {f.name}; with a larger exponent "
                f"they would be {apart}"
            )
        return f"2**{e} <= |x| < 2**{e + 1}: numbers of {f.name} are {apart}"

    def _tell_between(self, grid: Grid, away: bool | None) -> None:
        x, negative = self.x, is_negative(self.x)
        low, high = (-grid.outer, -grid.inner) if negative else (grid.inner, grid.outer)
        self._tell_neighbours(self._signed(low), self._signed(high), "below", "above")
        part = 1 - grid.rest if negative else grid.rest
        tie = grid.rest == words.HALF
        self.facts |= {"position": portion(part), "tie": tie}
        self._tell("position", f"{portion(part)} of the way up" + ", a tie" * tie)
        if self.settings.rounding != "stochastic":
            lines = [words.why(x, grid, self.settings, away)]
        else:
            chance = self.settings.chance
            lines = words.by_chance(x, grid, chance, self.draw is not None)
            self.facts["probability_away_from_zero"] = portion(steps.chances(grid.rest, chance))
        self._tell("decision", *lines)
        self.facts["decision"] = lines[-1 if self.draw else 0]

    def _signed(self, point: Fraction) -> Number:
        """A point of the grid, zero with the sign that the format can give it."""
        return -0.0 if point == 0 and self.x < 0 and self.f.has_negative_zero else point

    def _tell_neighbours(self, below: Number, above: Number, *labels: str) -> None:
        rows = []
        for label, point in zip(labels, (below, above), strict=True):
            fact, row = self._neighbour(point)
            self.facts[label.split()[-1]] = fact
            rows.append([label, *row])
        self.sections.append(("neighbours", columns(rows)))

    def _neighbour(self, point: Number) -> tuple[dict[str, object], list[str]]:
        f, number = self.f, words.said(point)
        if is_finite(point) and abs(Fraction(point)) > Fraction(f.max):
            lack = "beyond the largest number"
        elif point < 0 and not f.signed:
            lack = f"{f.name} has no negative numbers"
        elif is_finite(point) and not f.has_zero and point < f.smallest_normal:
            lack = "below the smallest number"
        else:
            code = exact.encode(float(point) if point == 0 else point, f)  # type: ignore[arg-type]
            bits = split_bits(code, f)
            fact: dict[str, object] = {
                "value": expansion(point),
                "code": written_code(code, f),
                "bits": bits,
            }
            return fact, [number, written_code(code, f), bits]
        return {"value": number, "code": None, "bits": None}, [number, "-", f"({lack})"]

    # -- how it ends ----------------------------------------------------------------------

    def _tell_both(self, outcomes: list[Outcome]) -> None:
        grid = steps.grid_of(self.x, self.f)
        p = steps.chances(grid.rest, self.settings.chance)
        rows = []
        for each, probability in zip(outcomes, (1 - p, p), strict=True):
            row = stored(each.result, self.f)
            rows.append([*row.values(), portion(probability)])
        self.sections.append(("results", columns(rows)))
        self.facts["results"] = [
            dict(zip(("value", "code", "bits", "probability"), row, strict=True)) for row in rows
        ]

    def _tell_result(self) -> None:
        keys = ("value", "code", "bits", "integer_times_power", "error_ulps")
        self.facts |= dict.fromkeys(keys)
        self.facts["flags"] = None
        if self.result is None:
            if is_nan(self.x):
                self._tell("result", f"refused: NaN cannot be stored in {self.f.name}")
            return
        row = stored(self.result, self.f)
        power = integer_times_power(self.result, self.f)
        self.facts |= row | {"integer_times_power": power}
        self.sections.append(("result", columns([[*row.values(), power or ""]])))
        if is_finite(self.result) and is_finite(self.x):
            lost = Fraction(self.result) - Fraction(self.x)
            place = last_place(self.result, self.f)
            unit, self.facts["error_ulps"] = Fraction(2) ** place, ulps(lost, place)
            self._tell("error", f"{signed(lost / unit)} ulp" if lost else "none: exact")
        self._tell_flags()
        self._tell_double_rounding(self.result)

    def _tell_flags(self) -> None:
        self.facts["flags"], line = flags.told(
            self.x, self.f, self.settings, self.draw, self.signal
        )
        self._tell("flags", line)

    def _tell_double_rounding(self, result: Real) -> None:
        self.facts["double_rounding"] = {}
        for name, other, sentence in twice.differences(
            self.x, self.f, self.settings, self.draw, result
        ):
            self.facts["double_rounding"][name] = words.said(other)
            self._tell(f"via {name}", sentence)
