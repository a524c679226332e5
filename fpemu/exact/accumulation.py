"""A sum of terms by any accumulation model, on one element, step by step in exact arithmetic.

`model` has the attributes of `fpemu.accumulation.Accumulator`, every setting filled in. Nothing here
is shared with the machine that runs models on arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from fpemu.exact.chance import random_integer
from fpemu.exact.operations import exact_result
from fpemu.exact.rounding import read_operand, round_to
from fpemu.formats import Format
from fpemu.reals import Real, size_of

Decide = Callable[[int], Callable[[Fraction], bool]]
Value = tuple[Real, Format]  # a number and the format that it belongs to


class Steps:
    """Roundings in their order: the n-th one takes the n-th random decision."""

    def __init__(self, model: Any, decide: Decide | None) -> None:
        self.settings = {
            "rounding": model.rounding,
            "saturation": model.saturation,
            "subnormals": model.subnormals,
        }
        self.decide, self.done = decide, 0

    def __call__(self, op: str, *operands: Value, f: Format) -> Value:
        """`op` rounded to `f`; "convert" is the operand itself."""
        read = [read_operand(x, g, self.settings["subnormals"]) for x, g in operands]
        value: Any = read[0]
        if op != "convert":
            value, _ = exact_result(op, *read, rounding=self.settings["rounding"])
        away = self.decide(self.done) if self.decide else None
        self.done += 1
        return round_to(value, f, away=away, **self.settings), f


def accumulate(
    terms: Sequence[tuple[Value, ...]],
    model: Any,
    start: Value | None = None,
    *,
    decide: Decide | None = None,
    element: tuple[int, int] = (0, 1),
) -> Real:
    """The sum of `terms`, each one value or two to be multiplied, by `model`.

    `decide` gives the decision of stochastic rounding for the n-th rounding; `element` is the
    position of the result among how many (for "ring").
    """
    steps, f = Steps(model, decide), model.format
    kind, number = model.kind, model.number
    zero: Value = (0.0, f)
    terms = list(terms)
    if kind == "exact":
        return _exactly(terms, model, start, steps)
    if kind == "permuted":
        drawn = [random_integer(i, number, 64) for i in range(len(terms))]
        terms = [terms[i] for i in sorted(range(len(terms)), key=lambda i: (drawn[i], i))]

    def sequential(some: Sequence[tuple[Value, ...]], begin: Value) -> Value:
        total = begin
        for count, term in enumerate(some, 1):
            if model.product == "exact":
                op = "fma" if len(term) == 2 else "add"
                total = steps(op, *term, total, f=f)
            else:
                total = steps("add", total, rounded(term), f=f)
            if model.round_every and count % model.round_every[1] == 0:
                total = (steps("convert", total, f=model.round_every[0])[0], f)
                total = steps("convert", total, f=f)
        return total

    def rounded(term: tuple[Value, ...]) -> Value:
        to = model.product or f
        return steps("multiply" if len(term) == 2 else "convert", *term, f=to)

    def pairwise(some: Sequence[tuple[Value, ...]]) -> Value:
        if len(some) <= number:
            return sequential(some, zero)
        half = len(some) // 2
        left = pairwise(some[:half])
        return steps("add", left, pairwise(some[half:]), f=f)

    def kahan(some: Sequence[Value], begin: Value) -> Value:
        total: Value = begin
        error: Value = (0.0, c)
        for x in some:
            corrected = steps("subtract", x, error, f=c)
            new = steps("add", total, corrected, f=f)
            error = steps("subtract", steps("subtract", new, total, f=c), corrected, f=c)
            total = new
        return total

    c = model.correction or f
    zero_error: Value = (0.0, c)
    outer = model.promote[0] if model.promote else f
    begin = (0.0, outer) if start is None else start
    if kind in ("sequential", "permuted") and not model.promote:
        return sequential(terms, begin)[0]
    if kind == "kahan":
        total, error = begin, zero_error
        for term in terms:
            corrected = steps("subtract", rounded(term), error, f=c)
            new = steps("add", total, corrected, f=f)
            error = steps("subtract", steps("subtract", new, total, f=c), corrected, f=c)
            total = new
        return total[0]
    if kind == "neumaier":
        total, error = begin, zero_error
        for term in terms:
            x = rounded(term)
            new = steps("add", total, x, f=f)
            large, small = (total, x) if _not_smaller(total[0], x[0]) else (x, total)
            lost = steps("add", steps("subtract", large, new, f=c), small, f=c)
            error = steps("add", error, lost, f=c)
            total = new
        return steps("add", total, error, f=f)[0]
    if kind == "pairwise":
        total = pairwise(terms)
        return total[0] if start is None else steps("add", start, total, f=f)[0]
    if kind in ("split", "tree", "ring"):
        groups = _shares(terms, number)
    else:
        size = model.promote[1] if model.promote else number
        groups = [terms[i : i + size] for i in range(0, len(terms), size)]
    partial = [sequential(group, zero) for group in groups]
    if kind == "fabsum":
        return kahan(partial, begin)[0]
    if kind == "tree":
        while len(partial) > 1:
            pairs = [partial[i : i + 2] for i in range(0, len(partial), 2)]
            partial = [steps("add", *p, f=f) if len(p) == 2 else p[0] for p in pairs]
        return partial[0][0] if start is None else steps("add", start, partial[0], f=f)[0]
    if kind == "ring":
        rank = _owner(element, number)
        partial = partial[rank + 1 :] + partial[: rank + 1]
        total = partial[0]
        for p in partial[1:]:
            total = steps("add", total, p, f=f)
        return total[0] if start is None else steps("add", start, total, f=f)[0]
    total = begin
    for p in partial:
        total = steps("add", total, p, f=outer)
    return total[0]


def _exactly(terms, model: Any, start: Value | None, steps: Steps) -> Real:
    """One rounding of the exact sum of the products (or of products rounded to a format)."""
    rounding = model.rounding
    total: Any = 0.0 if start is None else start[0]
    for term in terms:
        if isinstance(model.product, Format):
            value: Any = steps("multiply" if len(term) == 2 else "convert", *term, f=model.product)[
                0
            ]
        else:
            read = [read_operand(x, g, model.subnormals) for x, g in term]
            value = exact_result("multiply", *read)[0] if len(read) == 2 else read[0]
        total, _ = exact_result("add", total, value, rounding=rounding)
    return steps("convert", (total, _WIDE), f=model.format)[0]


# A format whose subnormals no "daz" concerns.
_WIDE = Format("exact", 11, 52, bias=16000, encoding="p3109_finite")


def _not_smaller(a: Real, b: Real) -> bool:
    """Whether \\|a\\| >= \\|b\\|; NaN is not."""
    return a == a and b == b and size_of(a) >= size_of(b)


def _shares(terms: list, count: int) -> list[list]:
    """As `numpy.array_split`: the first ones are longer by one where it does not come out even."""
    each, more = divmod(len(terms), count)
    ends = [0]
    for i in range(count):
        ends.append(ends[-1] + each + (i < more))
    return [terms[a:b] for a, b in itertools.pairwise(ends)]


def _owner(element: tuple[int, int], ranks: int) -> int:
    """The rank to which an element of the result is dealt."""
    index, size = element
    for rank, share in enumerate(_shares(list(range(size)), ranks)):
        if index in share:
            return rank
    raise AssertionError("every element has an owner")
