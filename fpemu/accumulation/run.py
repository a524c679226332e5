"""Models run on arrays: all elements of the result at once, term after term.

What is rounded in which order is written down once more, on one element, in
`exact.accumulation`; the tests hold the two together. Where a stretch of terms is summed
sequentially in the ordinary way, the kernels do it; everything else goes step by step through
`elementwise`, which rounds each step from exact information.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from fpemu import context, elementwise, exact
from fpemu.accumulation import compensated, exact_sums
from fpemu.accumulation.model import Accumulator
from fpemu.accumulation.sequential import accumulate_products, record
from fpemu.accumulation.stepwise import Stepwise
from fpemu.carriers import carrier_dtype
from fpemu.chance import Chance
from fpemu.convert import round_to, watched, without_subnormals
from fpemu.formats import Format
from fpemu.reals import Real

Values = tuple[np.ndarray, Format]
CORRECTION = " correction"  # added to an operation's name where corrections are counted


def filled(model: Accumulator) -> Accumulator:
    """The model with every setting that it leaves open taken from the `arithmetic` in force."""
    now = context.current()
    return dataclasses.replace(
        model,
        rounding=model.rounding or now.rounding,
        saturation=model.saturation or now.saturation,
        subnormals=model.subnormals or now.subnormals,
        seed=now.next_chance().seed if model.seed is None else model.seed,
        random_bits=now.random_bits if model.random_bits is None else model.random_bits,
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

    Without `a` the columns of `b` are summed, or with `squares` their squares: shape (1, n). `formats` are those of `a` and `b`;
    `start` holds values of ``model.result_format``. The result is in that format's carrier.
    """
    return _Run(a, b, formats, filled(model), place, op, squares).result(start)


class _Run:
    """One accumulation: terms, and the roundings done so far."""

    def __init__(
        self, a, b, formats, model: Accumulator, place: str, op: str, squares: bool = False
    ) -> None:
        self.squares = squares
        self.a, self.b, self.formats, self.model = a, b, formats, model
        self.place, self.op, self.done = place, op, 0
        self.f: Format = model.format
        self.c: Format = model.correction or model.format
        self.shape = (1 if a is None else a.shape[0], b.shape[1])
        self.chance = Chance(model.seed or 0, model.random_bits or 24)
        self.settings: dict[str, Any] = {
            "rounding": model.rounding,
            "saturation": model.saturation,
            "subnormals": model.subnormals,
        }
        self.usual = (model.rounding, model.subnormals) == ("nearest_even", "gradual")
        plain = model.product is None and model.round_every is None and not squares
        self.by_kernel = self.usual and plain and self.f.signed and self.f.has_zero

    # -- steps --------------------------------------------------------------------------------

    def step(self, op: str, *operands: Values, f: Format, part: str = "") -> Values:
        """`op` rounded to `f`, for all elements of the result; `part` is what of the sum it is, unless
        a product or the sum itself."""
        chance = self.chance.derived(self.done)
        self.done += 1
        values, formats = zip(*operands, strict=True)
        whole = tuple(np.broadcast_to(v, self.shape) for v in values)
        rounded = elementwise.apply_between(
            *(op, whole, formats, f),
            **self.settings,
            chance=chance,
            place=self.place,
            count_as=self.op + part,
        )
        return rounded, f

    def term(self, k: int) -> tuple[Values, ...]:
        row: Values = (self.b[k][None, :], self.formats[1])
        if self.a is None:
            return (row, row) if self.squares else (row,)
        return (self.a[:, k][:, None], self.formats[0]), row

    def rounded_term(self, k: int) -> Values:
        term = self.term(k)
        op = "convert" if len(term) == 1 else "multiply"
        return self.step(op, *term, f=self.model.product or self.f)

    def zero(self, f: Format) -> Values:
        return np.zeros(self.shape, carrier_dtype(f)), f

    # -- sums ---------------------------------------------------------------------------------

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
        total = found[0].astype(carrier_dtype(self.f))
        error = found[1].astype(carrier_dtype(self.c)) if compensated else total
        if watching:
            rows = (
                ("", plan.product, None),
                ("", self.f, total),
                (CORRECTION, self.c if compensated else None, None),
            )
            for (part, f, result), counts in zip(rows, found[2], strict=True):
                if f is not None:
                    where = (self.place, self.op + part)
                    record(*where, f, counts, plan.saturation, result, before)
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
        )
        return total, self.f

    def result(self, start: np.ndarray | None) -> np.ndarray:
        model, f = self.model, self.f
        kind, number = model.kind, model.number
        terms = np.arange(len(self.b))
        outer = model.result_format
        given: Values | None = None if start is None else (start, outer)
        begin = given or self.zero(outer)
        if kind == "exact":
            return self._exactly(begin)
        if kind == "permuted":
            drawn = np.array(
                [exact.random_integer(i, number, 64) for i in terms.tolist()], np.uint64
            )
            terms = terms[np.argsort(drawn, kind="stable")]
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
        partial = [self.sequential(group, self.zero(f)) for group in groups]
        if kind == "fabsum":
            return self._kahan_of_partial_sums(partial, begin)[0]
        if kind == "tree":
            while len(partial) > 1:
                pairs = [partial[i : i + 2] for i in range(0, len(partial), 2)]
                partial = [self.step("add", *p, f=f) if len(p) == 2 else p[0] for p in pairs]
            return self._with_start(given, partial[0])
        if kind == "ring":
            return self._with_start(given, self._ring(partial, number))
        total = begin
        for p in partial:
            total = self.step("add", total, p, f=outer)
        return total[0]

    def _with_start(self, start: Values | None, total: Values) -> np.ndarray:
        return total[0] if start is None else self.step("add", start, total, f=self.f)[0]

    def _pairwise(self, terms: np.ndarray, most: int) -> Values:
        if len(terms) <= most:
            return self.sequential(terms, self.zero(self.f))
        half = len(terms) // 2
        left = self._pairwise(terms[:half], most)
        return self.step("add", left, self._pairwise(terms[half:], most), f=self.f)

    def _ring(self, partial: list[Values], ranks: int) -> Values:
        """Element by element of the result another rank begins."""
        stack = np.stack([values for values, _ in partial])
        size = self.shape[0] * self.shape[1]
        owner = np.repeat(
            np.arange(ranks), [len(s) for s in np.array_split(np.arange(size), ranks)]
        )
        owner = owner.reshape(self.shape)
        rows, columns = np.indices(self.shape)
        total: Values = (stack[(owner + 1) % ranks, rows, columns], self.f)
        for i in range(2, ranks + 1):
            total = self.step(
                "add", total, (stack[(owner + i) % ranks, rows, columns], self.f), f=self.f
            )
        return total

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
            step_by_step = self._kahan if order == "kahan" else self._neumaier
            return step_by_step((self.rounded_term(k) for k in terms.tolist()), begin)
        total: Values = (pair[0], self.f)
        return total if order == "kahan" else self.step("add", total, (pair[1], self.c), f=self.f)

    def _kahan_of_partial_sums(self, partial: list[Values], begin: Values) -> Values:
        if not partial:
            return begin
        flat = np.stack([values.reshape(-1) for values, _ in partial])
        if "daz" in self.settings["subnormals"]:
            flat = without_subnormals(flat, self.f)
        plan = dataclasses.replace(self._plan("kahan", None), operands=(self.f, self.f))
        first = np.broadcast_to(begin[0], self.shape).reshape(1, -1)
        pair = self._by_plan(plan, (np.ones((1, len(flat))), flat), (first, self.f), before=None)
        if pair is None:
            return self._kahan(partial, begin)
        return pair[0].reshape(self.shape), self.f

    def _kahan(self, terms: Iterable[Values], begin: Values) -> Values:
        total, error = begin, self.zero(self.c)
        for x in terms:
            corrected = self.step("subtract", x, error, f=self.c, part=CORRECTION)
            new = self.step("add", total, corrected, f=self.f)
            gained = self.step("subtract", new, total, f=self.c, part=CORRECTION)
            error = self.step("subtract", gained, corrected, f=self.c, part=CORRECTION)
            total = new
        return total

    def _neumaier(self, terms: Iterable[Values], begin: Values) -> Values:
        total, error = begin, self.zero(self.c)
        for x in terms:
            new = self.step("add", total, x, f=self.f)
            with np.errstate(invalid="ignore"):
                first = np.abs(total[0]) >= np.abs(x[0])
            # Which of the two is larger differs by element, and with it perhaps the format.
            pairs = [(total, x), (x, total)]
            if total[1] == x[1]:
                larger, smaller = (np.where(first, p[0], q[0]) for p, q in zip(*pairs, strict=True))
                pairs = [((larger, self.f), (smaller, self.f))]
            losses, kept = [], self.done
            for large, small in pairs:
                self.done = kept
                rest = self.step("subtract", large, new, f=self.c, part=CORRECTION)
                losses.append(self.step("add", rest, small, f=self.c, part=CORRECTION)[0])
            loss = losses[0] if len(losses) == 1 else np.where(first, *losses)
            error = self.step("add", error, (loss, self.c), f=self.c, part=CORRECTION)
            total = new
        return self.step("add", total, error, f=self.f)

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
