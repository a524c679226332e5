"""A sum of terms by any accumulation model, on one element, step by step in exact arithmetic.

`model` has the attributes of `fpemu.accumulation.Accumulator`, every setting filled in. Nothing here
is shared with the machine that runs models on arrays. An observer sees every step as it happens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from fpemu.exact.chance import random_integer
from fpemu.exact.operations import exact_result
from fpemu.exact.rounding import read_operand, round_to
from fpemu.formats import Format
from fpemu.reals import Number, Real, size_of

Decide = Callable[[int], Callable[[Fraction], bool]]
Value = tuple[Real, Format]  # a number and the format that it belongs to
Observer = Callable[["Step"], None]

# What a step is for; those of GROWTH make the sum larger by something.
GROWTH = ("term", "part", "pair", "start", "applied")
ROLES = (*GROWTH, "correction", "rounded term", "round_every", "result")
_REMEMBERED = 1 << 14


class Step(NamedTuple):
    """One rounding, as an observer sees it.

    `op` on the numbers `read` has the exact result `value`, which `signal` may say is invalid, and
    which rounding to `f` made `result`; `away` is the random decision, if there was one. `given` are
    the operands before "daz". The operand number `total` is the running total. `role` says what
    the step is for, `part` where it happens; `truth` is what exact arithmetic would have here,
    without any rounding before.
    """

    op: str
    given: tuple[Value, ...]
    read: list[Real]
    value: Number
    signal: str
    f: Format
    result: Real
    away: Callable[[Fraction], bool] | None
    total: int
    role: str
    part: str
    truth: Number


class _Observed(tuple):
    """A `Value` that knows what exact arithmetic would have made of the terms behind it."""

    truth: Number


def _observed(value: Value, truth: Number) -> Value:
    known: Any = _Observed(value)
    known.truth = truth
    return known


class Steps:
    """Roundings in their order: the n-th one takes the n-th random decision."""

    def __init__(self, model: Any, decide: Decide | None, observe: Observer | None = None) -> None:
        self.settings = {
            "rounding": model.rounding,
            "saturation": model.saturation,
            "subnormals": model.subnormals,
        }
        self.decide, self.done = decide, 0
        self.observe, self.part = observe, ""
        self._remembered: dict[Any, Any] = {}

    def __call__(
        self, op: str, *operands: Value, f: Format, role: str = "rounded term", total: int = 0
    ) -> Value:
        """`op` rounded to `f`; "convert" is the operand itself."""
        away = self.decide(self.done) if self.decide else None
        self.done += 1
        # Sums repeat themselves. Zeros are not remembered: their signs compare equal.
        key = None if away or not all(x for x, _ in operands) else (op, operands, f)
        step = self._remembered.get(key) if key else None
        if step is None:
            step = self._step(op, operands, f, away)
            if key:
                if len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()
                self._remembered[key] = step
        read, value, signal, result = step
        if self.observe is None:
            return result, f
        truths: list[Any] = [getattr(x, "truth", x[0]) for x in operands]
        truth = truths[0] if op == "convert" else exact_result(op, *truths)[0]
        self.observe(
            Step(
                *(op, operands, read, value, signal, f, result),
                *(away, total, role, self.part, truth),
            )
        )
        return _observed((result, f), truth)

    def _step(self, op: str, operands: tuple[Value, ...], f: Format, away: Any) -> tuple:
        read = [read_operand(x, g, self.settings["subnormals"]) for x, g in operands]
        value: Any = read[0]
        signal = ""
        if op != "convert":
            value, signal = exact_result(op, *read, rounding=self.settings["rounding"])
        return read, value, signal, round_to(value, f, away=away, **self.settings)


def accumulate(
    terms: Sequence[tuple[Value, ...]],
    model: Any,
    start: Value | None = None,
    *,
    decide: Decide | None = None,
    element: tuple[int, int] = (0, 1),
    observe: Observer | None = None,
) -> Real:
    """The sum of `terms`, each one value or two to be multiplied, by `model`.

    `decide` gives the decision of stochastic rounding for the n-th rounding; `element` is the
    position of the result among how many (for "ring"). `observe` is called with every `Step`.
    """
    steps, f = Steps(model, decide, observe), model.format
    kind, number = model.kind, model.number
    zero: Value = (0.0, f)
    terms = list(terms)
    if kind == "exact":
        return _exactly(terms, model, start, steps)
    if kind == "permuted":
        drawn = [random_integer(i, number, 64) for i in range(len(terms))]
        terms = [terms[i] for i in sorted(range(len(terms)), key=lambda i: (drawn[i], i))]

    def sequential(some: Sequence[tuple[Value, ...]], begin: Value, part: str = "") -> Value:
        steps.part = part
        total = begin
        for count, term in enumerate(some, 1):
            if model.product == "exact":
                op = "fma" if len(term) == 2 else "add"
                total = steps(op, *term, total, f=f, role="term", total=len(term))
            else:
                total = steps("add", total, rounded(term), f=f, role="term")
            if model.round_every and count % model.round_every[1] == 0:
                between = steps("convert", total, f=model.round_every[0], role="round_every")
                total = steps("convert", _read_as(f, between), f=f, role="round_every")
        return total

    def rounded(term: tuple[Value, ...]) -> Value:
        to = model.product or f
        return steps("multiply" if len(term) == 2 else "convert", *term, f=to)

    def pairwise(some: Sequence[tuple[Value, ...]], first: int = 1) -> Value:
        part = f"terms {first} to {first + len(some) - 1}"
        if len(some) <= number:
            return sequential(some, zero, part)
        half = len(some) // 2
        left, right = pairwise(some[:half], first), pairwise(some[half:], first + half)
        steps.part = part
        return steps("add", left, right, f=f, role="pair")

    def kahan(some: Iterable[Value], begin: Value, role: str) -> Value:
        total, error = begin, zero_error
        for x in some:
            corrected = steps("subtract", x, error, f=c, role="correction")
            new = steps("add", total, corrected, f=f, role=role)
            gained = steps("subtract", new, total, f=c, role="correction")
            error = steps("subtract", gained, corrected, f=c, role="correction")
            total = new
        return total

    def with_start(total: Value) -> Real:
        steps.part = ""
        return total[0] if start is None else steps("add", start, total, f=f, role="start")[0]

    c = model.correction or f
    zero_error: Value = (0.0, c)
    outer = model.promote[0] if model.promote else f
    begin = (0.0, outer) if start is None else start
    if kind in ("sequential", "permuted") and not model.promote:
        return sequential(terms, begin)[0]
    if kind == "kahan":
        return kahan(map(rounded, terms), begin, "term")[0]
    if kind == "neumaier":
        total, error = begin, zero_error
        for term in terms:
            x = rounded(term)
            new = steps("add", total, x, f=f, role="term")
            large, small = (total, x) if _not_smaller(total[0], x[0]) else (x, total)
            rest = steps("subtract", large, new, f=c, role="correction")
            lost = steps("add", rest, small, f=c, role="correction")
            error = steps("add", error, lost, f=c, role="correction")
            total = new
        return steps("add", total, error, f=f, role="applied")[0]
    if kind == "pairwise":
        return with_start(pairwise(terms))
    if kind in ("split", "tree", "ring"):
        noun, groups = "share", _shares(terms, number)
    else:
        size = model.promote[1] if model.promote else number
        noun, groups = "block", [terms[i : i + size] for i in range(0, len(terms), size)]
    partial = [sequential(group, zero, f"{noun} {i}") for i, group in enumerate(groups, 1)]
    if kind == "fabsum":
        return kahan(_named(partial, noun, steps), begin, "part")[0]
    if kind == "tree":
        for level in itertools.count(1):
            if len(partial) == 1:
                return with_start(partial[0])
            pairs = _named([partial[i : i + 2] for i in range(0, len(partial), 2)], "pair", steps)
            partial = []
            for p in pairs:
                steps.part = f"level {level}, {steps.part}"
                partial.append(steps("add", *p, f=f, role="pair") if len(p) == 2 else p[0])
    if kind == "ring":
        rank = _owner(element, number)
        partial = partial[rank + 1 :] + partial[: rank + 1]
        total = partial[0]
        for i, p in enumerate(partial[1:], rank + 2):
            steps.part = f"share {i % number + 1}"
            total = steps("add", total, p, f=f, role="part")
        return with_start(total)
    total = begin
    for p in _named(partial, noun, steps):
        total = steps("add", total, p, f=outer, role="part")
    return total[0]


def _named(parts: list[Any], noun: str, steps: Steps) -> Iterator[Any]:
    """The parts one after another, the steps with each named after it."""
    for i, part in enumerate(parts, 1):
        steps.part = f"{noun} {i}"
        yield part


def _read_as(f: Format, value: Value) -> Value:
    """A value of another format as one of `f`, which decides whether "daz" reads it as zero."""
    read: Value = (value[0], f)
    return _observed(read, value.truth) if isinstance(value, _Observed) else read


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
    return steps("convert", (total, _WIDE), f=model.format, role="result")[0]


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
