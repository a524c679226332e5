"""A step told: text, facts and a picture."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from fpemu import exact
from fpemu.explaining.aligned import Row, aligned
from fpemu.explaining.matrix_steps import window
from fpemu.explaining.matrix_steps.operands import Operands, once, read
from fpemu.explaining.matrix_steps.reasons import loop_format, ordinary, reasons, told
from fpemu.explaining.matrix_steps.sums import Addend, Sum
from fpemu.explaining.report import Explanation, Section, columns
from fpemu.formats import Format
from fpemu.reals import Real, is_finite, is_nan, written

_SHOWN = 40  # addends


def explain_step(
    a: object, b: object, c: object, unit: object, f: object, scales: object
) -> Explanation:
    """See `Explainer.matrix_step`."""
    given = read(a, b, c, unit, f, scales)
    step, made = told(given), given.unit
    because = reasons(given)
    sections: list[Section] = [("unit", [[line] for line in _unit_lines(made)])]
    facts: dict[str, Any] = {
        "unit": str(made),
        "evidence": made.evidence,
        "arithmetic": made.arithmetic,
        "products": [
            written(exact.exact_result("multiply", *pair)[0]) for pair in given.pairs[: given.count]
        ],
        "c": written(given.c),
    }
    title = f"one step of {made}"
    if not step.sums:
        sections += [("specials", [[line] for line in because])]
        sections += [("result", [[shown(step.result, made.accumulator)]])]
        return Explanation.of(title, sections, facts, step.result)
    if len(step.sums) == 1:
        sections += _one(step.sums[0], given)
    else:
        sections += [(s.name, _lines(s, given)) for s in step.sums]
    loop, right = ordinary(given)[0], once(given)
    f_loop = loop_format(given)
    sections += [
        ("result", [[shown(step.result, made.accumulator)]]),
        (
            f_loop.name,
            [[f"one by one, every sum rounded to nearest even: {shown(loop, f_loop)}"]],
        ),
        ("once", [[f"the exact sum rounded once: {shown(right, made.accumulator)}"]]),
        ("why", [[line] for line in because]),
    ]
    facts |= _facts(step.sums[-1], given) if len(step.sums) == 1 else {}
    facts |= {
        "sums": [_facts_of(s, given) for s in step.sums],
        "exact_sum": written(short(given.exactly)),
        f_loop.name: written(loop),
        "once": written(right),
        "result": written(step.result),
        "code": _code(step.result, made.accumulator),
        "why": because,
    }
    picture = window.picture(title, [_visible(s, given) for s in step.sums])
    return Explanation.of(title, sections, facts, step.result, picture)


def _visible(s: Sum, given: Operands) -> Sum:
    """The sum without the zeros that only fill up a step."""
    padded = {f"p{k}" for k in range(given.count, len(given.pairs))}
    kept = tuple(p for p in s.addends if p.label not in padded or p.value)
    return replace(s, addends=kept or s.addends[:1])


def _one(s: Sum, given: Operands) -> list[Section]:
    s = _visible(s, given)
    return [
        ("addends", columns(_table(s))),
        ("alignment", [[s.aligned], *_alignment(s)]),
        ("sum", [[_total(s)], [f"exactly: {written(short(given.exactly))}"]]),
        ("rounding", [[s.rounded]]),
    ]


def _lines(s: Sum, given: Operands) -> list:
    s = _visible(s, given)
    lines = [*columns(_table(s)), [f"aligned {s.aligned}"], *_alignment(s)]
    lines.append([f"sum {_total(s)}"])
    end = written(short(Fraction(s.result))) if is_finite(s.result) else written(s.result)
    return [
        *lines,
        ["not rounded yet" if s.rounded == "not yet" else f"rounded {s.rounded}: {end}"],
    ]


def _table(s: Sum) -> list[list[str]]:
    rows = [["", "value", "exponent", "kept", "cut off"]]
    for p in s.addends:
        name = f"{p.label} = {p.what}" if p.what else p.label
        exponent = "-" if p.exponent is None else str(p.exponent)
        rows.append([name, written(short(p.value)), exponent, _kept(p, s), written(short(p.cut))])
    if len(rows) > _SHOWN + 1:
        rows = [*rows[:_SHOWN], ["...", "", "", "", ""], rows[-1]]
    return rows


def _kept(p: Addend, s: Sum) -> str:
    """What is kept, in units where the sum has them."""
    if s.place is None:
        return written(short(p.kept))
    whole = p.kept / Fraction(2) ** s.place
    return str(whole) if whole.denominator == 1 else f"{float(whole)}"


def _alignment(s: Sum) -> list:
    rows = []
    for p in s.addends:
        if p.value and p.last is not None:
            place = p.place if p.place is not None else s.end if s.place is None else s.place
            last = min(p.last, place) if p.kept else p.last
            rows.append(Row(p.label, p.value < 0, abs(p.value), last, place))
    if not rows:
        return []
    lines = [[line] for line in aligned(rows[:_SHOWN])]
    if s.place is None:
        return [*lines, ["the bar stands behind the last place of the result"]]
    down = "down" if any(p.down for p in s.addends) else "from magnitudes"
    return [*lines, [f"what stands behind the bar is cut off, {down}"]]


def _total(s: Sum) -> str:
    value = written(short(s.total))
    if s.place is None:
        return value
    units = s.total / Fraction(2) ** s.place
    return f"{units if units.denominator == 1 else float(units)} units = {value}"


def _facts(s: Sum, given: Operands) -> dict[str, Any]:
    """What a single sum says beside the list of sums: integers in its unit."""
    if s.place is None:
        return {}
    unit = Fraction(2) ** s.place
    visible = _visible(s, given)
    return {
        "exponent": s.exponent,
        "unit_exponent": s.place,
        "kept": [int(p.kept / unit) for p in visible.addends],
        "exponents": [p.exponent for p in visible.addends],
        "sum": int(s.total / unit),
    }


def _facts_of(s: Sum, given: Operands) -> dict[str, Any]:
    return {
        "name": s.name,
        "aligned": s.aligned,
        "exponent": s.exponent,
        "unit_exponent": s.place,
        "addends": [
            {
                "label": p.label,
                "value": written(short(p.value)),
                "exponent": p.exponent,
                "kept": written(short(p.kept)),
                "cut": written(short(p.cut)),
            }
            for p in _visible(s, given).addends
        ],
        "sum": written(short(s.total)),
        "rounding": s.rounded,
        "result": written(s.result),
    }


def _unit_lines(made: Any) -> list[str]:
    n, bits = made.length, f"{made.bits} bits kept below the largest exponent"
    how = {
        "truncating": f"{n} products and c at once, {bits}",
        "software": "software: two FP16 steps of 16 products, then an ordinary addition of c",
        "scaled": f"{n} products with the scales of their blocks and c at once, {bits}",
        "scaled_groups": f"4 groups of 16 products, each exact, and c at once, {bits}",
        "fma": "one fused multiply-add per product",
        "exact": f"{n} products and c, exactly, rounded once",
        "flushed": "products, sums of pairs and the sum with c are rounded; subnormals become zeros",
        "two_grids": f"{n} products on one grid, their sum and c on a second one",
        "two_grids_even_odd": "even and odd products on grids of their own, their sum and c on another",
    }
    return [how[made.arithmetic], f"known from: {made.evidence}; not run on hardware by fpemu"]


def short(x: Fraction) -> Real:
    """A float if that is exact, else the Fraction."""
    near = float(x) if abs(x) < 2**1000 else x
    return near if near == x else x


def shown(x: Real, f: Format) -> str:
    """A number and its code."""
    return f"{written(x)}  {_code(x, f)}"


def _code(x: Real, f: Format) -> str:
    if is_nan(x):
        return "nan"
    return f"{exact.encode(x, f):#0{f.bits // 4 + 2}x}"
