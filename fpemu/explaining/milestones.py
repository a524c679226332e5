"""The steps of a sum that are worth a word: what was added to what, what came out, and why."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fpemu.context import Arithmetic
from fpemu.explaining import steps, words
from fpemu.explaining.numbers import expansion, portion, rough, said, short, signed
from fpemu.explaining.watching import EVENTS, Addition, Stall, Watch
from fpemu.numerals import last_place, ulps
from fpemu.reals import Number, Real, is_finite, is_infinite, is_nan

_ROWS = 12  # of the table


@dataclass(frozen=True)
class Milestone:
    """A step, what is said about it, and the same as data."""

    label: str
    lines: list[str]
    fact: dict[str, Any]


def milestones(watch: Watch, settings: Arithmetic) -> list[Milestone]:
    """The firsts of a sum, step by step; one step may be the first of several."""
    by_number: dict[int, list[str]] = {}
    for event in EVENTS:
        if event in watch.firsts:
            by_number.setdefault(watch.firsts[event].number, []).append(event)
    told = []
    for number in sorted(by_number):
        events = by_number[number]
        if "cancellation" in events and watch.counts["cancellation"] == 1:
            events = [e for e in events if e != "largest cancellation"]
        addition = watch.firsts[events[0]]
        why = reasons(addition, settings)
        names = [
            EVENTS[e] if e.startswith("largest") else f"first {EVENTS[e]}"
            for e in events
            if e != "largest cancellation" or watch.counts["cancellation"] > 1
        ]
        lines = [f"the {', the '.join(names)}{where(addition)}", formula(addition), *why]
        told.append(Milestone(f"step {number}", lines, _fact(addition, events, why)))
    return told


def _fact(addition: Addition, events: list[str], why: list[str]) -> dict[str, Any]:
    step = addition.step
    fact: dict[str, Any] = {
        "step": addition.number,
        "events": events,
        "part": step.part,
        "total": expansion(addition.before),
        "addend": expansion(addition.addend),
        "exact": expansion(step.value),
        "result": expansion(step.result),
        "why": why,
    }
    if "cancellation" in events or "largest cancellation" in events:
        fact["bits_cancelled"] = addition.cancelled
    return fact


def where(addition: Addition) -> str:
    """In which part of the sum a step stands; nothing in a plain one."""
    step = addition.step
    match step.role:
        case "start":
            return ", where the start is added"
        case "applied":
            return ", where the correction is added"
        case "part":
            return f", where {step.part} is added"
        case "pair":
            return f", where two halves are added: {step.part}"
    return f", in {step.part}" if step.part else ""


def formula(addition: Addition) -> str:
    """The addition, its exact result, and what became of that."""
    step = addition.step
    a, b, value = addition.before, addition.addend, step.value
    right = said(b)
    right = f"({right})" if right.startswith("-") else right
    left = f"{said(a)} + {right} = {said(value)}"
    if step.result == value or (is_nan(value) and is_nan(step.result)):
        return f"{left}, exactly" if is_finite(value) else left
    return f"{left}, which becomes {said(step.result)}"


def reasons(addition: Addition, settings: Arithmetic) -> list[str]:
    """Why a step came out as it did."""
    step, before, addend = addition.step, addition.before, addition.addend
    value, f = step.value, step.f
    if step.signal:
        return ["invalid: infinities of opposite signs have no sum"]
    if is_nan(value):
        return [f"{'the total' if is_nan(before) else 'the addend'} is NaN"]
    if is_infinite(value):
        term = "the total" if is_infinite(before) else "the addend"
        if is_infinite(step.result):
            return [f"{term} is infinite: no overflow"]
        return [f"{term} is infinite: {words.of_special(value, f, settings, step.result)}"]
    lines = []
    if before != 0 and addend != 0 and (before < 0) != (addend < 0) and value != 0:
        bits = addition.cancelled or 0
        if bits > 1:
            lines.append(f"{bits} leading bits cancel")
    elif before != 0 and addend != 0 and value == 0:
        lines.append("all bits cancel")
    if step.result == value:
        if value != 0 and abs(Fraction(value)) < Fraction(f.smallest_normal):
            lines.append(f"below the smallest normal, {said(f.smallest_normal)}")
        return lines
    grid = steps.grid_of(value, f)
    if before != 0:
        unit = Fraction(2) ** last_place(before, f)
        lines.append(f"1 ulp of the total is {said(unit)}; the addend is {_share(addend, unit)} it")
    away = steps.decision(value, grid, settings, step.away)
    if grid.rest:
        lines.append(_why(value, grid, settings, bool(away)))
    result = steps.outcome(value, f, grid, bool(away), settings)
    for _, sentences in words.after(value, f, grid, result, settings):
        lines += sentences
    return lines


def stalled(watch: Watch, settings: Arithmetic) -> tuple[dict[str, Any] | None, list[str]]:
    """Where the sum stopped growing, and the parts of it that did."""
    stop = watch.stopped
    lines = []
    fact = None
    if stop:
        fact = _stall_fact(stop)
        total = said(stop.first.step.result)
        lines.append(
            f"the sum stopped growing at step {stop.first.number}, at {total}: all "
            f"{stop.count} additions from there on were swamped and lost {said(stop.lost)}"
        )
        lines.append(_why_stalled(stop, settings))
    parts = watch.stalls - (stop is not None)
    if parts > 0 and watch.first_stall is not None and watch.first_stall is not stop:
        first = watch.first_stall
        lines.append(
            f"{parts} partial sum{'s' * (parts != 1)} ended in swamped additions, the first in "
            f"{first.first.step.part or 'the terms'} at step {first.first.number}, at "
            f"{said(first.first.step.result)}"
        )
    return fact, lines


def _stall_fact(stop: Stall) -> dict[str, Any]:
    return {
        "step": stop.first.number,
        "at": expansion(stop.first.step.result),
        "additions": stop.count,
        "lost": expansion(stop.lost),
        "smallest_addend": expansion(stop.smallest),
        "largest_addend": expansion(stop.largest),
    }


def _why_stalled(stop: Stall, settings: Arithmetic) -> str:
    step = stop.first.step
    unit = Fraction(2) ** last_place(step.result, step.f)
    low, high = said(stop.smallest), said(stop.largest)
    size = f"all {high}" if low == high else f"{low} to {high}"
    most = f"{_share(stop.largest, unit)} that{' at most' * (low != high)}"
    line = f"1 ulp there is {said(unit)}; the addends are {size} in magnitude, {most}"
    if _rule(stop.first, settings):
        return _held(stop, settings)
    if settings.rounding == "nearest_even" and Fraction(stop.largest) * 2 == unit:
        return f"{line}, and a tie goes to even"
    return line


def _rule(addition: Addition, settings: Arithmetic) -> str:
    """The rule that came between the grid and the result of an addition, "" for none."""
    step = addition.step
    if step.value == 0 or not is_finite(step.value):
        return ""
    grid = steps.grid_of(step.value, step.f)
    away = steps.decision(step.value, grid, settings, step.away)
    return steps.outcome(step.value, step.f, grid, bool(away), settings).rule


def _held(stop: Stall, settings: Arithmetic) -> str:
    """Why a sum stays where it is that its ulp would have let go."""
    f = stop.first.step.f
    match _rule(stop.first, settings):
        case "overflow":
            return f"{said(stop.first.step.result)} is the end of {f.name}: what lies beyond overflows to it"
        case "flushed":
            return f"{settings.subnormals}: totals below {said(f.smallest_normal)} become 0"
    return "because of what the format does with the exact result, not of its size"


def _why(value: Number, grid: steps.Grid, settings: Arithmetic, away: bool) -> str:
    """Why the mode decided so; of what chance decided, how likely that was."""
    sentence = words.why(value, grid, settings, away)
    if settings.rounding != "stochastic":
        return sentence
    p = steps.chances(grid.rest, settings.chance)
    return f"{sentence}, which had probability {portion(p if away else 1 - p)}"


def _share(addend: Real, unit: Fraction) -> str:
    """How large an addend is beside an ulp, as words before "it" or "that"."""
    share = abs(Fraction(addend)) / unit
    return f"{portion(share)} of" if share < 1 else f"{rough(share)} times"


def growth(watch: Watch) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """The table of the sum's growth: steps spaced as powers of two, and the milestones."""
    marked = {a.number: a for a in watch.firsts.values()}
    if watch.stopped:
        marked[watch.stopped.first.number] = watch.stopped.first
    if watch.last:
        marked[watch.last.number] = watch.last
    room = max(_ROWS - len(marked), 4)
    spaced = [a for a in watch.samples if a.number not in marked]
    every = max(1, -(-len(spaced) // room))
    chosen = marked | {a.number: a for a in spaced[::every]}
    parts = any(a.step.part for a in chosen.values())
    header = ["step", *(["part"] if parts else []), "addend", "total", "ulp", "exact total"]
    rows, facts = [[*header, "error (ulp)"]], []
    for number in sorted(chosen):
        a = chosen[number]
        place = _place(a)
        error = "-"
        if a.error is not None and place is not None:
            error = signed(a.error / Fraction(2) ** place) if a.error else "0"
        ulp = "-" if place is None else short(Fraction(2) ** place)
        part = [a.step.part or "-"] if parts else []
        cells = [short(a.addend), short(a.step.result), ulp, short(a.step.truth), error]
        rows.append([str(number), *part, *cells])
        facts.append(
            {
                "step": number,
                "part": a.step.part,
                "addend": expansion(a.addend),
                "total": expansion(a.step.result),
                "ulp": None if place is None else expansion(Fraction(2) ** place),
                "exact": expansion(a.step.truth),
                "error_ulps": None if a.error is None or place is None else ulps(a.error, place),
            }
        )
    return rows, facts


def _place(a: Addition) -> int | None:
    return last_place(a.step.result, a.step.f) if is_finite(a.step.result) else None
