"""A long sum explained: where it stopped growing and why, what was lost, what other models give."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from fractions import Fraction
from typing import Any

from fpemu import context, exact
from fpemu.accumulation import Accumulator
from fpemu.accumulation.run import filled
from fpemu.arrays import Array, array
from fpemu.context import Arithmetic
from fpemu.display import stored
from fpemu.errors import ArgumentError
from fpemu.explaining import cures
from fpemu.explaining.milestones import growth, milestones, stalled
from fpemu.explaining.numbers import expansion, rough, said, signed
from fpemu.explaining.report import Explanation, Section, columns, title
from fpemu.explaining.terms import changed_in, listed
from fpemu.explaining.watching import Watch
from fpemu.formats import Format, as_format
from fpemu.linalg.options import model_of
from fpemu.numerals import decimal, integer_times_power, last_place, number_of, ulps
from fpemu.reals import Number, Real, is_finite, is_nan

MOST_TERMS = 1 << 19  # followed in some tens of seconds
_MOST_COMPENSATED = 1 << 17  # by order "kahan" or "neumaier", with five roundings or more a term
_OPTIONS = ("rounding", "saturation", "subnormals", "seed", "random_bits")


def explain_sum(
    x: object,
    f: object,
    accumulate: object,
    order: str,
    product: object,
    start: object,
    out: object,
    options: dict[str, Any],
) -> Explanation:
    """See `Explainer.sum`."""
    f = as_format(f)
    asked = _with_options(model_of(accumulate, order, product, f), options)
    number = None if start is None else number_of(start, "explain.sum(start=)")
    final = as_format(out) if out is not None else asked.out or f
    given = listed(x)
    limit = _MOST_COMPENSATED if asked.kind in ("kahan", "neumaier") else MOST_TERMS
    if len(given) > limit:
        raise ArgumentError(
            f"explain.sum follows at most {limit} terms by order {asked.order!r} step by step, "
            f"got {len(given)}; explain a part of them, or count the swamped additions of all: "
            "with fp.trace() as t: fp.sum(...)"
        )
    block = dataclasses.asdict(context.current()) if context.wants_flags() else None

    def explanation() -> Explanation:
        # In a block random rounding takes other seeds, the first ones of a block here.
        with contextlib.nullcontext() if block is None else context.arithmetic(**block):
            return _Sum(given, array(given, f), asked, number, final).explanation()

    # What is only looked at is not counted by open traces, nor flagged or trapped by open blocks.
    return contextvars.Context().run(explanation)


class _Sum:
    """One sum: its sections and facts."""

    def __init__(
        self, given: Any, x: Array, asked: Accumulator, start: Number | None, out: Format
    ) -> None:
        self.x, self.f, self.out = x, x.format, out
        self.model = model = filled(asked)
        self.asked = cures.without(asked, *_OPTIONS[:3])
        self.settings = _settings(model)
        self.start, self.begin = start, None
        if start is not None:
            self.begin = exact.round_to(start, model.result_format)
        self.terms = x.tolist()
        self.watch = Watch(self.settings)
        self.total = cures.by_steps(model, x, self.begin, self.watch)
        self.watch.end()
        self.result = cures.rounded(self.total, asked, self.f, out)
        self.finite = all(map(is_finite, self.terms)) and (start is None or is_finite(start))
        self.exact = self._exact() if self.finite else None
        self.sections: list[Section] = []
        self.facts: dict[str, Any] = {
            "terms": len(self.terms),
            "format": self.f.name,
            "model": str(asked),
            "rounding": model.rounding,
            "saturation": model.saturation,
            "subnormals": model.subnormals,
        }
        self._tell_terms(given)
        self._tell_result()
        self._tell_what_happened()
        self._tell_cures()

    def explanation(self) -> Explanation:
        """What is told, put together."""
        count = _count(len(self.terms), "term")
        head = title(f"sum of {count} in {self.f.name}: {self.asked}", self.settings)
        return Explanation.of(head, self.sections, self.facts, self.result)

    def _tell(self, label: str, *lines: str) -> None:
        self.sections.append((label, [[line] for line in lines]))

    def _exact(self) -> Fraction:
        begin = Fraction(0) if self.begin is None else Fraction(self.begin)
        return sum(map(Fraction, self.terms), begin)

    # -- the terms ------------------------------------------------------------------------

    def _tell_terms(self, given: Any) -> None:
        terms = self.terms
        self.facts["rounded_terms"] = changed = changed_in(given, terms)
        self.facts["exact_sum"] = None if self.exact is None else expansion(self.exact)
        lines = []
        if terms:
            numbers = [t for t in terms if not is_nan(t)] or terms
            low, high = min(numbers), max(numbers)
            span = f"all {said(low)}" if low == high else f"from {said(low)} to {said(high)}"
            missing = len(terms) - sum(not is_nan(t) for t in terms)
            nan = f", {missing} NaN" if missing else ""
            lines.append(f"{_count(len(terms), 'number')} of {self.f.name}, {span}{nan}")
        else:
            lines.append("none: the sum of nothing is what it starts with")
        if changed:
            were = "was no number" if changed == 1 else "were no numbers"
            lines.append(f"{changed} of them {were} of {self.f.name}: first rounded to it")
        self._tell("terms", *lines)
        if self.settings.rounding == "stochastic":
            seed, bits = self.settings.seed, self.settings.random_bits
            self.facts |= {"seed": seed, "random_bits": bits}
            self._tell("chance", f"seed {seed}, {bits} random bits for each rounding")
        if self.begin is not None and self.start is not None:
            shown = said(self.begin)
            note = "" if self.begin == self.start else f": {said(self.start)}, first rounded"
            self._tell("start", f"{shown}{note}")
            self.facts["start"] = shown
        watch = self.watch
        if watch.rounded_terms and watch.first_rounded is not None:
            step = watch.first_rounded
            self._tell(
                "rounded",
                f"{_count(watch.rounded_terms, 'term')} rounded to {step.f.name} before being "
                f"added, the first of them {said(step.value)} to {said(step.result)}",
            )
        if watch.read_as_zero:
            self._tell(
                "daz",
                f"{_count(watch.read_as_zero, 'subnormal term')} read as 0 by "
                f"{self.settings.subnormals}",
            )

    # -- the result -----------------------------------------------------------------------

    def _tell_result(self) -> None:
        result, f = self.result, self.out
        row = stored(result, f)
        power = integer_times_power(result, f)
        self.facts |= row | {"integer_times_power": power}
        self._tell(
            "exact sum",
            "none: not all terms are finite" if self.exact is None else said(self.exact),
        )
        self.sections.append(("result", columns([[*row.values(), power or ""]])))
        if f != self.model.result_format:
            g = self.model.result_format
            self.facts["accumulated"] = said(self.total)
            self._tell("rounded", f"{said(self.total)} in {g.name}, rounded to {f.name} at the end")
        self.facts |= dict.fromkeys(("error_ulps", "relative_error", "bounds"))
        if self.exact is None or not is_finite(result):
            return
        error = Fraction(result) - self.exact
        place = last_place(self.exact, f)
        self.facts["error_ulps"] = ulps(error, place)
        line = "none: exact"
        if error:
            unit = Fraction(2) ** place
            line = f"{signed(error / unit)} ulp of the exact sum, 2**{place} = {said(unit)}"
        if error and self.exact:
            relative = abs(error / self.exact)
            self.facts["relative_error"] = ratio(relative)
            line += f"; relative {rough(relative)}"
        elif not error:
            self.facts["relative_error"] = 0.0
        self._tell("error", line)
        self._tell_bounds(self.exact)

    def _tell_bounds(self, exact_sum: Fraction) -> None:
        """The usual bounds of recursive summation, of the sum of magnitudes."""
        model = self.model
        size = sum((abs(Fraction(t)) for t in self.terms), abs(Fraction(self.begin or 0)))
        more = model.promote or model.round_every or isinstance(model.product, Format)
        if model.kind not in ("sequential", "permuted") or more or not size:
            return
        if not is_finite(self.total):
            return
        observed = abs(Fraction(self.total) - exact_sum) / size
        nearest = self.settings.rounding.startswith("nearest")
        n, p = len(self.terms), self.model.format.precision
        e = p if nearest else p - 1
        u = Fraction(1, 2**e)
        probable = math.sqrt(n) * float(u)
        self.facts["bounds"] = {
            "u": f"2**-{e}",
            "n*u": ratio(n * u),
            "sqrt(n)*u": probable,
            "observed": ratio(observed),
        }
        self._tell(
            "bounds",
            f"observed {rough(observed)} of the sum of magnitudes; n*u = {rough(n * u)}, "
            f"sqrt(n)*u = {rough(Fraction(probable))} with u = 2**-{e}",
            *self._beyond_bounds(),
        )

    def _beyond_bounds(self) -> list[str]:
        counts = self.watch.counts
        what = {
            "overflow": counts.get("overflow"),
            "flushing": counts.get("flushed") or self.watch.read_as_zero,
        }
        seen = " and ".join(name for name, count in what.items() if count)
        return [f"they do not reckon with {seen}"] if seen else []

    # -- the steps ------------------------------------------------------------------------

    def _tell_what_happened(self) -> None:
        watch = self.watch
        told = milestones(watch, self.settings)
        self.facts["milestones"] = [m.fact for m in told]
        for m in told:
            self._tell(m.label, *m.lines)
        self.facts["stopped"], lines = stalled(watch, self.settings)
        if lines:
            self._tell("stopped", *lines)
        counts = watch.counts
        self.facts["counts"] = {
            "additions": watch.additions,
            "corrections": watch.corrections,
            **{
                name: counts.get(name, 0)
                for name in ("inexact", "swamped", "cancellation", "subnormal", "overflow")
            },
        }
        self.facts["lost_to_swamped"] = expansion(watch.lost)
        if self.model.kind == "exact":
            self._tell("steps", "none but one: the exact sum is rounded once, at the end")
        if watch.additions:
            self._tell("counts", *self._counted())
            rows, self.facts["growth"] = growth(watch)
            self.sections.append(("growth", columns(rows)))

    def _counted(self) -> list[str]:
        watch, counts = self.watch, self.watch.counts
        line = f"{_count(watch.additions, 'addition')}: {counts.get('inexact', 0)} inexact, "
        lines = [f"{line}{counts.get('swamped', 0)} swamped"]
        if counts.get("swamped"):
            lost = f"the swamped ones lost {said(watch.lost)} in total"
            if watch.corrections:
                lost += ", before corrections"
            lines.append(lost)
        if watch.corrections:
            lines.append(f"and {_count(watch.corrections, 'operation')} on corrections")
        return lines

    # -- other models ---------------------------------------------------------------------

    def _tell_cures(self) -> None:
        self.facts["cure"] = []
        if not self.terms:
            return
        rows = [["model", "sum", "error (ulp)"]]
        here: list[tuple[Accumulator, Real | str]] = [(self.model, self.result)]
        them = cures.computed(cures.others(self.model), self.x, self.start, self.out)
        for model, value in [*here, *them]:
            name = str(cures.without(model, *_OPTIONS, "out"))
            if isinstance(value, str):
                rows.append([name, value, ""])
                self.facts["cure"].append({"model": name, "value": None, "error_ulps": None})
                continue
            error: float | None = None
            shown = "-"
            if self.exact is not None and is_finite(value):
                lost = Fraction(value) - self.exact
                place = last_place(self.exact, self.out)
                error = ulps(lost, place)
                shown = signed(lost / Fraction(2) ** place) if lost else "exact"
            rows.append([name, said(value), shown])
            self.facts["cure"].append({"model": name, "value": decimal(value), "error_ulps": error})
        self.sections.append(("cure", columns(rows)))


def ratio(x: Fraction) -> float:
    """A ratio as a float, of any size."""
    return ulps(x, 0)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _settings(model: Accumulator) -> Arithmetic:
    options = {name: getattr(model, name) for name in _OPTIONS}
    return Arithmetic(**options)


def _with_options(model: Accumulator, options: dict[str, Any]) -> Accumulator:
    """The model with `options` that it leaves open."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if getattr(model, name) is not None:
            raise ArgumentError(f"accumulate={str(model)!r} says {name}; leave out {name}=")
    return dataclasses.replace(model, **given) if given else model
