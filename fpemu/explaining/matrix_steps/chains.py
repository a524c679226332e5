"""A long sum followed on several chips: the accumulator after every step, and where the chips part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from fpemu import exact
from fpemu.accumulation import Accumulator
from fpemu.errors import ArgumentError
from fpemu.exact import accumulation as sums
from fpemu.exact import matrix_units as units
from fpemu.explaining.matrix_steps.operands import start, taken, vectors
from fpemu.explaining.matrix_steps.reasons import told
from fpemu.explaining.matrix_steps.telling import short, shown
from fpemu.explaining.numbers import short as few
from fpemu.explaining.report import Explanation, Section, columns
from fpemu.formats import FP32
from fpemu.linalg import dot
from fpemu.linalg.options import filled, model_of_products
from fpemu.matrix_units import Instruction
from fpemu.reals import Real, is_finite, written

_ASKER = "explain.matrix_chain"
MOST_PRODUCTS = 1 << 14
_ALL, _AROUND = 12, 2  # steps shown of a chain


@dataclass(frozen=True)
class Link:
    """A step: its name, the products from `first` to before `end` that it takes, and the accumulator after.
    `whole` says whether that is the sum of all products before `end`. `cut` is what its addends lost, by
    `losers` of them, and `rounded` what rounding then took from the sum."""

    name: str
    first: int
    end: int
    after: Real
    whole: bool
    losers: int = 0
    cut: Fraction = Fraction(0)
    rounded: Fraction = Fraction(0)


@dataclass(frozen=True)
class Chain:
    """What one model makes of the products; no links where its sum is not one chain."""

    name: str
    model: Any
    said: str
    links: tuple[Link, ...]
    result: Real

    def totals(self, count: int) -> dict[int, tuple[str, Real]]:
        """By the number of products summed: the step that ends there, and the accumulator."""
        found = {link.end: (link.name, link.after) for link in self.links if link.whole}
        found.setdefault(count, ("end", self.result))
        return found


def explain_chain(a: object, b: object, models: Any, c: object, f: object) -> Explanation:
    """See `Explainer.matrix_chain`."""
    x, y = vectors(a, b, f, _ASKER)
    if x.size > MOST_PRODUCTS:
        raise ArgumentError(f"matrix_chain follows up to {MOST_PRODUCTS} products, got {x.size}")
    names = [models] if isinstance(models, str) or not isinstance(models, Sequence) else models
    if not names:
        raise ArgumentError("matrix_chain takes at least one model, for example 'h100 wgmma'")
    chains = []
    for name in names:
        model = model_of_products(name, "sequential", None, x.format, y.format)
        begin = start(c, model.result_format, _ASKER)
        chains.append(_followed(str(name), model, x, y, begin))
    partings = [_parting(one, other, x.size) for one, other in combinations(chains, 2)]
    around = min((p[2] for p in partings if p), default=0)
    title = f"{x.size} products of {x.format.name}" + (
        f" with {y.format.name}" if y.format != x.format else ""
    )
    sections: list[Section] = []
    for chain in chains:
        sections.append((chain.name, _lines(chain, around)))
    lines = [_parting_line(p) for p in partings if p] or [["nowhere: all agree after every step"]]
    if partings:
        sections.append(("they part", lines))  # type: ignore[arg-type]
    facts: dict[str, Any] = {"products": x.size, "on hardware": False}
    begin = start(c, FP32, _ASKER)
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    if all(is_finite(v) for pair in pairs for v in pair) and is_finite(begin):
        total = sum((Fraction(p) * Fraction(q) for p, q in pairs), Fraction(begin))
        once = exact.round_to(total, FP32)
        sections.append(("exactly", [[f"the exact sum rounded once: {shown(once, FP32)}"]]))
        facts |= {"exact_sum": written(short(total)), "once": written(once)}
    facts |= {
        "chains": [_facts(chain) for chain in chains],
        "partings": [
            {"models": [p[0].name, p[1].name], "products": p[2], "steps": p[3], "totals": p[4]}
            for p in partings
            if p
        ],
    }
    sections.append(("emulated", [["not run on these chips by fpemu"]]))
    return Explanation.of(title, sections, facts, chains[-1].result)


def _followed(name: str, model: Any, x: Any, y: Any, begin: Real) -> Chain:
    a, b = x.tolist(), y.tolist()
    if isinstance(model, Instruction):
        links = tuple(_unit_links(a, b, begin, model))
        return Chain(name, model, str(model), links, units.matrix_unit(a, b, begin, model))
    said, model = str(model), filled(model)
    if model.rounding == "stochastic":
        raise ArgumentError(f"matrix_chain follows no random rounding, got {name!r}")
    formats = (x.format, y.format)
    terms = [tuple(zip(pair, formats, strict=True)) for pair in zip(a, b, strict=True)]
    if model.order != "sequential" or model.promote or model.round_every:
        given = start(begin, model.format, _ASKER)
        return Chain(name, model, said, (), dot_from(x, y, given, model))
    links = tuple(_loop_links(terms, model, begin))
    return Chain(name, model, said, links, links[-1].after if links else begin)


def dot_from(x: Any, y: Any, begin: Real, model: Accumulator) -> Real:
    """The result of a model whose additions are no chain."""
    return dot(x, y, begin or None, accumulate=model, out=model.result_format).item()


def _loop_links(terms: list, model: Accumulator, begin: Real) -> Iterator[Link]:
    """A step per product: each rounds the product, if the model does, and the sum."""
    seen: list[sums.Step] = []
    sums.accumulate(terms, model, (begin, model.format), observe=seen.append)
    done, rounded = 0, Fraction(0)
    for step in seen:
        if is_finite(step.value) and is_finite(step.result):
            rounded += Fraction(step.value) - Fraction(step.result)
        if step.role == "term":
            yield Link(str(done + 1), done, done + 1, step.result, True, rounded=rounded)
            done, rounded = done + 1, Fraction(0)


def _unit_links(a: list[Real], b: list[Real], c: Real, made: Instruction) -> Iterator[Link]:
    size = units.share_of(len(a), made) if made.split > 1 else max(len(a), 1)
    total = c
    for n, first in enumerate(range(0, len(a), size), 1):
        share = slice(first, first + size)
        begin = c if n == 1 else 0.0
        for link in _share_links(a[share], b[share], begin, made, first):
            yield link
            part = link.after
        if n == 1:
            total = part
        else:
            value: Any = exact.exact_result("add", total, part)[0]
            total = exact.round_to(value, FP32)
            end = min(first + size, len(a))
            yield Link(f"share {n} added", 0, end, total, True, rounded=_lost(value, total))


def _share_links(a: list, b: list, c: Real, made: Instruction, base: int) -> Iterator[Link]:
    """The chain of a share whose products are numbered from `base`."""
    part: Real = 0.0 if made.promote else c
    whole = base == 0 and not made.promote
    for k in range(0, len(a), made.length):
        given = taken(a[k : k + made.length], b[k : k + made.length], part, made)
        step, end = told(given), min(k + made.length, len(a))
        lost = [p.cut for s in step.sums for p in s.cut]
        part = step.result if step.sums else given.reference()
        rounded = sum((_lost(s.total, s.result) for s in step.sums), Fraction(0))
        name = str((base + k) // made.length + 1)
        yield Link(
            *(name, base + k, base + end, part, whole),
            *(len(lost), sum(lost, Fraction(0)), rounded),
        )
        if made.promote and (end % made.promote == 0 or end == len(a)):
            value: Any = exact.exact_result("add", c, part)[0]
            c, part = exact.round_to(value, FP32), 0.0
            lost_here = _lost(value, c)
            yield Link("promoted", base, base + end, c, base == 0, rounded=lost_here)


def _lost(value: Any, result: Real) -> Fraction:
    """What a rounding took, where that is a number."""
    finite = is_finite(value) and is_finite(result)
    return Fraction(value) - Fraction(result) if finite else Fraction(0)


def _parting(one: Chain, other: Chain, count: int) -> Any:
    """Where two chains first have different accumulators: the chains, after how many products and which
    steps, and the accumulators; None if nowhere."""
    left, right = one.totals(count), other.totals(count)
    for k in sorted(left.keys() & right.keys()):
        x, y = left[k][1], right[k][1]
        if x != y and (x == x or y == y):
            steps = [left[k][0], right[k][0]]
            return one, other, k, steps, [written(x), written(y)]
    return None


def _parting_line(parting: Any) -> list[str]:
    one, other, k, steps, totals = parting
    x, y = one.result, other.result
    end = "end together" if x == y or (x != x and y != y) else "end apart"
    return [
        f"{one.name} and {other.name} after {k} products ({_step(steps[0])} and {_step(steps[1])}): "
        f"{totals[0]} and {totals[1]}; they {end}"
    ]


def _step(name: str) -> str:
    return f"step {name}" if name.isdigit() else name


def _lines(chain: Chain, around: int) -> list:
    f = chain.model.result_format
    evidence = getattr(chain.model, "evidence", "")
    lines: list = [[chain.said + (f" ({evidence})" if evidence else "")]]
    if chain.links:
        lines += columns(_table(chain, around, f))
    else:
        lines += [["its additions are no chain of one accumulator"]]
    return [*lines, [f"result {shown(chain.result, f)}"]]


def _table(chain: Chain, around: int, f: Any) -> list[list[str]]:
    rows = [["step", "products", "accumulator", "code", "cut off", "rounded away"]]
    links = chain.links
    at = next((i for i, link in enumerate(links) if link.end >= around), 0)
    skipped = False
    for i, link in enumerate(links):
        near = i < _AROUND or i >= len(links) - _AROUND or abs(i - at) <= _AROUND
        if len(links) > _ALL and not near:
            if not skipped:
                rows.append(["...", *[""] * 5])
            skipped = True
            continue
        skipped = False
        value, code = shown(link.after, f).split("  ")
        cut = f"{few(link.cut)} of {link.losers}" if link.losers else "-"
        rows.append(
            [
                link.name,
                f"{link.first}..{link.end - 1}",
                value,
                code,
                cut,
                few(link.rounded) if link.rounded else "-",
            ]
        )
    return rows


def _facts(chain: Chain) -> dict[str, Any]:
    f = chain.model.result_format
    return {
        "name": chain.name,
        "model": chain.said,
        "evidence": getattr(chain.model, "evidence", "defined by its roundings"),
        "result": written(chain.result),
        "code": shown(chain.result, f).split("  ")[1],
        "steps": [
            {
                "step": link.name,
                "products": [link.first, link.end - 1],
                "accumulator": written(link.after),
                "code": shown(link.after, f).split("  ")[1],
                "cut": written(short(link.cut)),
                "losers": link.losers,
                "rounded": written(short(link.rounded)),
            }
            for link in chain.links
        ],
    }
