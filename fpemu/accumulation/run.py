"""Models run on arrays: all elements of the result at once, term after term.

What is rounded in which order is written down once more, on one element, in
`exact.accumulation`; the tests hold the two together. Stretches of terms are summed by kernels: the
ordinary ones by `sequential`, those in other modes, fused or compensated by `stepwise`; what neither
is proven for goes step by step (`steps`), and so do the few additions between stretches.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np

from fpemu import context, elementwise, exact
from fpemu.accumulation import compensated, exact_sums
from fpemu.accumulation.model import Accumulator
from fpemu.accumulation.sequential import accumulate_products, record
from fpemu.accumulation.steps import CORRECTION, Steps, Values
from fpemu.accumulation.stepwise import Stepwise
from fpemu.accumulation.traps import first_signal
from fpemu.carriers import carrier_dtype
from fpemu.chance import Chance
from fpemu.convert import round_to, without_subnormals
from fpemu.formats import Format
from fpemu.reals import Real
from fpemu.reporting import watched


def filled(model: Accumulator) -> Accumulator:
    """The model with every setting that it leaves open taken from the `arithmetic` in force."""
    now = context.current()
    return model.filled(
        rounding=now.rounding,
        saturation=now.saturation,
        subnormals=now.subnormals,
        random_bits=now.random_bits,
        # An operation that names its seed takes none of the block's.
        seed=now.next_chance().seed if model.seed is None else model.seed,
    )


def accumulate(
    a: np.ndarray | None,
    b: np.ndarray,
    formats: tuple[Format, Format],
    model: Accumulator,
    start: np.ndarray | None = None,
    *,
    place: str = "",
    op: str = "matmul",
    squares: bool = False,
) -> np.ndarray:
    """``start + a @ b`` by `model`, for carriers of shapes (m, k), (k, n) and (m, n).

    Without `a` the columns of `b` are summed, or with `squares` their squares: shape (1, n). `formats`
    are those of `a` and `b`; `start` holds values of ``model.result_format``. The result is in that
    format's carrier. Events are counted at `place` under the name `op`.
    """
    model = filled(model)
    if a is not None and _better_transposed(a.shape[0], b.shape[1], model):
        # Products commute, and what is summed in which order is the same.
        swapped = _Run(b.T, a.T, (formats[1], formats[0]), model, place, op, squares)
        swapped.transposed = True
        return swapped.result(None if start is None else start.T).T
    return _Run(a, b, formats, model, place, op, squares).result(start)


def _better_transposed(rows: int, columns: int, model: Accumulator) -> bool:
    """Whether the loops, whose vectors lie along columns, had better take the result transposed: not
    where an element's position in it decides something."""
    if model.rounding == "stochastic" or model.kind == "ring":
        return columns == 1 and rows > 1
    return columns < 64 and rows > 2 * columns


class _Run(Steps):
    """One accumulation."""

    def sequential(self, terms: np.ndarray, begin: Values) -> Values:
        """The terms with these numbers, one after another."""
        # How many terms of the whole sum come before these.
        before = int(terms[0]) if len(terms) and self.model.kind != "permuted" else 0
        if self.by_kernel:
            return self._by_kernel(terms, begin, before)
        if self.model.round_every is None:
            return self._stretch(terms, begin, before)
        between, size = self.model.round_every
        total = begin
        for i in range(0, len(terms), size):
            total = self._stretch(terms[i : i + size], total, before + i)
            if i + size <= len(terms):
                rounded, _ = self.step("convert", total, f=between)
                total = self.step("convert", (rounded, self.f), f=self.f)
        return total

    def _stretch(self, terms: np.ndarray, begin: Values, before: int) -> Values:
        """The same without roundings in between, in any mode."""
        fused = self.model.product == "exact"
        plan = self._plan("sequential", None if fused else self.model.product or self.f)
        done = self._by_plan(plan, self._operands(terms), begin, self.squares, before)
        if done is not None:
            return done[0], self.f
        total = begin
        for k in terms.tolist():
            if fused:
                term = self.term(k)
                total = self.step("fma" if len(term) == 2 else "add", *term, total, f=self.f)
            else:
                total = self.step("add", total, self.rounded_term(k), f=self.f)
        return total

    def _plan(self, order: str, product: Format | None) -> Stepwise:
        model = self.model
        return Stepwise(
            order,
            self.formats,
            product,
            self.f,
            self.c,
            model.rounding or "",
            model.saturation or "",
            model.subnormals or "",
        )

    def _operands(self, terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of these terms, as steps read them."""
        whole = slice(None) if len(terms) == len(self.b) and _in_order(terms) else terms
        right = self.b[whole]
        left = np.ones((1, len(terms)), right.dtype) if self.a is None else self.a[:, whole]
        if "daz" in self.settings["subnormals"]:
            right = without_subnormals(right, self.formats[1])
            left = left if self.a is None else without_subnormals(left, self.formats[0])
        return left, right

    def _by_plan(
        self,
        plan: Stepwise,
        operands: tuple[np.ndarray, np.ndarray],
        begin: Values,
        squares: bool = False,
        before: int | None = 0,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Total and correction by the kernel, if there is one. `before` is how many terms of the whole
        sum come before these; None says that these are no terms but sums of terms."""
        a, b = operands
        start = np.broadcast_to(begin[0], (len(a), b.shape[1]))
        if not plan.has_kernel(self.chance.random_bits, (a, b, start)):
            return None
        watching = context.current().tininess if watched() else None
        found = plan.run(a, b, start, self.chance, self.done, squares, watching)
        self.done += len(b) * plan.roundings
        # Without a correction it is not of the correction's format.
        compensated = plan.order != "sequential"
        total = found[0].astype(carrier_dtype(plan.accumulator))
        error = found[1].astype(carrier_dtype(self.c)) if compensated else total
        if watching:
            rows = (
                ("", plan.product, None),
                ("", plan.accumulator, total),
                (CORRECTION, self.c if compensated else None, None),
            )
            for (part, f, result), counts in zip(rows, found[2], strict=True):
                if f is not None:
                    where = (self.place, self.op + part)
                    record(*where, f, counts, plan.saturation, result, before, self.example)
        return total, error

    def _by_kernel(self, terms: np.ndarray, begin: Values, before: int) -> Values:
        left, right = self._operands(terms)
        formats = (self.formats[1] if self.a is None else self.formats[0], self.formats[1], self.f)
        total = accumulate_products(
            left,
            right,
            formats,
            np.ascontiguousarray(begin[0]),
            saturation=self.settings["saturation"],
            place=self.place,
            op=self.op,
            offset=before,
            example=self.example,
        )
        return total, self.f

    def example(self, trapped: list[str]) -> str:
        """The first step that signalled one of these exceptions, in words."""

        def terms(i: int, j: int) -> list[tuple[tuple[Any, Format], ...]]:
            places = [(0, j)] * 2 if self.a is None else [(i, 0), (0, j)]
            return [
                tuple((_item(v, *p), g) for (v, g), p in zip(self.term(k), places, strict=False))
                for k in range(len(self.b))
            ]

        def begin(i: int, j: int) -> tuple[Any, Format] | None:
            given = self.start
            return None if given is None else (_item(given, i, j), self.model.result_format)

        where = {"transposed": self.transposed}
        return first_signal(terms, self.shape, self.model, begin, trapped, **where)

    def result(self, start: np.ndarray | None) -> np.ndarray:
        model, f = self.model, self.f
        kind, number = model.kind, model.number
        terms = np.arange(len(self.b))
        outer = model.result_format
        self.start = start
        given: Values | None = None if start is None else (start, outer)
        begin = given or self.zero(outer)
        if kind == "exact":
            return self._exactly(begin)
        if kind == "permuted":
            terms = _permutation(len(terms), number)
        if kind in ("sequential", "permuted") and not model.promote:
            return self.sequential(terms, begin)[0]
        if kind in ("kahan", "neumaier"):
            return self._compensated(kind, terms, begin)[0]
        if kind == "pairwise":
            return self._with_start(given, self._pairwise(terms, number))
        if kind in ("split", "tree", "ring"):
            groups = np.array_split(terms, number)
        else:
            size = model.promote[1] if model.promote else number
            groups = [terms[i : i + size] for i in range(0, len(terms), size)]
        sums = self._partial_sums(groups)
        if kind == "fabsum":
            return self._sum_of_sums("kahan", sums, begin)[0]
        partial: list[Values] = [(one, f) for one in sums]
        if kind == "tree":
            while len(partial) > 1:
                pairs = [partial[i : i + 2] for i in range(0, len(partial), 2)]
                partial = [self.step("add", *p, f=f) if len(p) == 2 else p[0] for p in pairs]
            return self._with_start(given, partial[0])
        if kind == "ring":
            return self._with_start(given, self.ring(partial, number))
        return self._sum_of_sums("sequential", sums, begin)[0]

    @property
    def _side_by_side(self) -> bool:
        """Whether parts of a sum may be computed as columns of another: not where the element or the
        number of the step decides something, nor the term."""
        return self.a is None and self.model.rounding != "stochastic" and not watched()

    def _partial_sums(self, groups: list[np.ndarray]) -> np.ndarray:
        """The sequential sums of groups of terms: shape (groups, m, n)."""
        out = np.empty((len(groups), *self.shape), carrier_dtype(self.f))
        if not self._side_by_side:
            for i, group in enumerate(groups):
                out[i] = self.sequential(group, self.zero(self.f))[0]
            return out
        sizes = np.array([len(group) for group in groups], int)
        for size in np.unique(sizes).tolist():
            which = np.flatnonzero(sizes == size)
            terms = np.stack([groups[i] for i in which.tolist()], axis=1)  # (size, groups)
            columns = self.b[terms].reshape(size, len(which) * self.shape[1])
            run = _Run(None, columns, self.formats, self.model, self.place, self.op, self.squares)
            total = run.sequential(np.arange(size), run.zero(self.f))[0]
            out[which] = total.reshape(len(which), *self.shape)
        return out

    def _with_start(self, start: Values | None, total: Values) -> np.ndarray:
        return total[0] if start is None else self.step("add", start, total, f=self.f)[0]

    def _pairwise(self, terms: np.ndarray, most: int) -> Values:
        if self._side_by_side:
            return self._pairwise_at_once([terms], most)[0], self.f
        if len(terms) <= most:
            return self.sequential(terms, self.zero(self.f))
        half = len(terms) // 2
        left = self._pairwise(terms[:half], most)
        return self.step("add", left, self._pairwise(terms[half:], most), f=self.f)

    def _pairwise_at_once(self, groups: list[np.ndarray], most: int) -> np.ndarray:
        """The pairwise sums of groups of terms, of nearly equal lengths."""
        large = np.array([len(group) > most for group in groups], bool)
        out = np.empty((len(groups), *self.shape), carrier_dtype(self.f))
        small = [group for group in groups if len(group) <= most]
        if small:
            out[~large] = self._partial_sums(small)
        if large.any():
            halves = [
                half
                for group in groups
                if len(group) > most
                for half in (group[: len(group) // 2], group[len(group) // 2 :])
            ]
            sums = self._pairwise_at_once(halves, most)
            pairs, formats = (sums[::2], sums[1::2]), (self.f, self.f)
            out[large] = elementwise.apply_between("add", pairs, formats, self.f, **self.settings)
        return out

    def _compensated(self, order: str, terms: np.ndarray, begin: Values) -> Values:
        """Kahan's or Neumaier's sum of the terms with these numbers."""
        product = self.model.product or self.f
        pair = None
        if self.usual and product == self.c == self.f and not (watched() or self.squares):
            formats = (*self.formats, self.f)
            left, right = self._operands(terms)
            pair = compensated.run(
                order, left, right, begin[0], formats, self.settings["saturation"]
            )
        pair = pair or self._by_plan(
            self._plan(order, product), self._operands(terms), begin, self.squares
        )
        if pair is None:
            step_by_step = self.kahan if order == "kahan" else self.neumaier
            return step_by_step((self.rounded_term(k) for k in terms.tolist()), begin)
        total: Values = (pair[0], self.f)
        return total if order == "kahan" else self.step("add", total, (pair[1], self.c), f=self.f)

    def _sum_of_sums(self, order: str, sums: np.ndarray, begin: Values) -> Values:
        """Sums of the accumulator's format, shape (sums, m, n), added one after another (or by
        Kahan's method) in that of the result."""
        outer = self.model.result_format
        if not len(sums):
            return begin
        flat = sums.reshape(len(sums), self.shape[0] * self.shape[1])
        if "daz" in self.settings["subnormals"]:
            flat = without_subnormals(flat, self.f)
        plan = dataclasses.replace(
            self._plan(order, None), operands=(self.f, self.f), accumulator=outer
        )
        first = np.broadcast_to(begin[0], self.shape).reshape(1, -1)
        operands = (np.ones((1, len(flat))), flat)
        pair = self._by_plan(plan, operands, (first, outer), before=None)
        if pair is not None:
            return pair[0].reshape(self.shape), outer
        partial: list[Values] = [(one, self.f) for one in sums]
        if order == "kahan":
            return self.kahan(partial, begin)
        total = begin
        for one in partial:
            total = self.step("add", total, one, f=outer)
        return total

    def _exactly(self, begin: Values) -> np.ndarray:
        """One rounding of the exact sum."""
        start = np.broadcast_to(begin[0], self.shape)
        terms: list[np.ndarray] = []
        if isinstance(self.model.product, Format):
            terms = [self.rounded_term(k)[0] for k in range(len(self.b))]

        def one_by_one(i: int, j: int) -> Real:
            total: Any = _item(start, i, j)
            for k in range(len(self.b)):
                value = _item(terms[k], i, j) if terms else self._product(i, j, k)
                total, _ = exact.exact_result(
                    "add", total, value, rounding=self.settings["rounding"]
                )
            return total

        short, squares = sum(g.precision for g in self.formats) <= 53, self.squares
        if terms:
            # The sum of each element is that of a column of its own.
            a, b = np.ones((1, len(terms))), np.stack(terms).reshape(len(terms), -1)
            shape, short, squares = (1, b.shape[1]), True, False
        else:
            a, b = self._operands(np.arange(len(self.b)))
            shape = self.shape
        whole = exact_sums.total(
            a,
            b,
            start.reshape(shape),
            self.f,
            squares=squares,
            short=short or (self.a is None and not squares),
            rounding=self.settings["rounding"],
            random_bits=self.chance.random_bits,
            one_by_one=lambda i, j: one_by_one(*(divmod(j, self.shape[1]) if terms else (i, j))),
        ).reshape(self.shape)
        chance = self.chance.derived(self.done)
        return round_to(whole, self.f, **self.settings, chance=chance, place=self.place, op=self.op)

    def _product(self, i: int, j: int, k: int) -> Fraction | float:
        term = self.term(k)
        places = [(0, j)] * len(term) if self.a is None else [(i, 0), (0, j)]
        reads = []
        for (values, g), place in zip(term, places, strict=True):
            x: Any = _item(values, *place)
            reads.append(exact.read_operand(x, g, self.settings["subnormals"]))
        return reads[0] if len(reads) == 1 else exact.exact_result("multiply", *reads)[0]


def _item(values: np.ndarray, i: int, j: int) -> Any:
    """An element as a Python number; objects are such already."""
    x = values[i, j]
    return x.item() if isinstance(x, np.generic) else x


def _permutation(count: int, seed: int) -> np.ndarray:
    """0 to count - 1 in the order of the numbers drawn for them."""
    from fpemu.kernels import philox

    drawn = np.empty(count, np.uint64)
    philox.both_words(*Chance(seed).words, drawn)
    return np.argsort(drawn, kind="stable")


def _in_order(terms: np.ndarray) -> bool:
    return bool(np.all(np.diff(terms) == 1))


def running(columns: np.ndarray, f: Format, model: Accumulator) -> np.ndarray:
    """All partial sums of the columns, by a plain sequential model: shape of `columns`."""
    machine = _Run(None, columns, (f, f), filled(model), "", "cumsum")
    total = machine.zero(model.format)
    out = np.empty(columns.shape, carrier_dtype(model.format))
    for k in range(len(columns)):
        total = machine.sequential(np.array([k]), total)
        out[k] = total[0][0]
    return out
