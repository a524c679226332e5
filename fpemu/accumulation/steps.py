"""One rounding of a sum after another, each on all elements of the result at once, by `elementwise`.

What no kernel is proven for is done so: slowly, but right for every format and every number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fpemu import elementwise
from fpemu.accumulation.model import Accumulator
from fpemu.carriers import carrier_dtype
from fpemu.chance import Chance
from fpemu.formats import Format

Values = tuple[np.ndarray, Format]
CORRECTION = " correction"  # added to an operation's name where corrections are counted


class Steps:
    """The terms of a sum, and the roundings done so far."""

    def __init__(
        self, a, b, formats, model: Accumulator, place: str, op: str, squares: bool = False
    ) -> None:
        self.squares = squares
        self.a, self.b, self.formats, self.model = a, b, formats, model
        self.place, self.op, self.done = place, op, 0
        self.start: np.ndarray | None = None
        self.transposed = False  # for messages
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

    def kahan(self, terms: Iterable[Values], begin: Values) -> Values:
        total, error = begin, self.zero(self.c)
        for x in terms:
            corrected = self.step("subtract", x, error, f=self.c, part=CORRECTION)
            new = self.step("add", total, corrected, f=self.f)
            gained = self.step("subtract", new, total, f=self.c, part=CORRECTION)
            error = self.step("subtract", gained, corrected, f=self.c, part=CORRECTION)
            total = new
        return total

    def neumaier(self, terms: Iterable[Values], begin: Values) -> Values:
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

    def ring(self, partial: list[Values], ranks: int) -> Values:
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
