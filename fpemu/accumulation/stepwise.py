"""Sums of products rounded step by step in any mode: when the kernel is right, and how it is run.

See `kernels.stepwise`, which computes in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpemu.accumulation import threads
from fpemu.carriers import has_step64, normal_edge, overflow_edge, target_of
from fpemu.chance import Chance
from fpemu.formats import Format

_ROUNDINGS = {"sequential": 1, "kahan": 4, "neumaier": 4}  # per term, after the product's
_BUFFER = 1 << 17  # random numbers at a time, of 8 bytes each


@dataclass(frozen=True)
class Stepwise:
    """A sum in one of three orders ("sequential", "kahan", "neumaier"), and all that rounds in it.

    `product` is None where products are added as they are, in a fused multiply-add (or where the terms
    are single values); `correction` matters to the last two orders.
    """

    order: str
    operands: tuple[Format, Format]
    product: Format | None
    accumulator: Format
    correction: Format
    rounding: str = "nearest_even"
    saturation: str = "none"
    subnormals: str = "gradual"

    @property
    def roundings(self) -> int:
        """How many there are per term."""
        return _ROUNDINGS[self.order] + (self.product is not None)

    @property
    def targets(self) -> tuple[Format, ...]:
        """The formats that steps round to."""
        used = [self.product] if self.product else []
        return (*used, self.accumulator, *([self.correction] if self.order != "sequential" else []))

    def has_kernel(self, random_bits: int, values: tuple[np.ndarray, ...]) -> bool:
        """Whether float64 has room for every step, and the kernel knows the formats' ways.

        `values` are the operands and where the sum starts: formats without NaN are for finite ones.
        """
        random = random_bits + 2 if self.rounding == "stochastic" else 0
        if random > 33 or sum(g.precision for g in self.operands) > 53:
            return False
        for g in (*self.operands, *self.targets):
            moderate = g.fits_float64 and g.emin - g.fraction_bits >= -300 and g.emax <= 300
            if not (moderate and g.signed and g.has_zero):
                return False
        for g in self.targets:
            if g.fraction_bits == 0 or g.precision + random > 51 or not has_step64(g):
                return False
        if all(g.has_nan for g in self.targets):
            return True
        no_specials = not any(g.has_inf or g.has_nan for g in self.targets)
        return no_specials and all(bool(np.isfinite(v).all()) for v in values)

    @property
    def needs_odd(self) -> bool:
        """Whether a float64 sum, rounded, could round again to something else than the exact sum.

        Not to nearest even, if both addends are values of the format of the sum (Figueroa 1995), nor
        in any mode, if all sums are exact.
        """
        f = self.accumulator
        if self.rounding == "nearest_even" and self.product is not None:
            inside = all(
                g.precision <= f.precision and g.emin - g.fraction_bits >= f.emin - f.fraction_bits
                for g in self.targets
            )
            alike = self.correction == f or self.order == "sequential"
            if inside and alike and 2 * f.precision + 2 <= 53:
                return False
        addends = [(g.emin - g.fraction_bits, g.emax) for g in self.targets]
        if self.product is None:
            a, b = self.operands
            lowest = a.emin - a.fraction_bits + b.emin - b.fraction_bits
            addends.append((lowest, a.emax + b.emax + 1))
            # Terms that are single values have their own range, which products may not cover.
            addends += [(g.emin - g.fraction_bits, g.emax) for g in self.operands]
        lowest = min(low for low, _ in addends)
        highest = max(high for _, high in addends)
        return highest + 2 - lowest > 53

    def run(
        self,
        a: np.ndarray,
        b: np.ndarray,
        start: np.ndarray,
        chance: Chance,
        done: int = 0,
        squares: bool = False,
        tininess: str | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The sum and its correction, float64 of shape (m, n), from operands (m, k) and (k, n).

        With random rounding the first step draws as number `done`. With `squares` the terms are those
        of `b`, and `a` does not matter. The third are, with `tininess` said, counts of what
        happened in products, sums and corrections, a row each (see `kernels.counting`).
        """
        from fpemu.kernels import counting, philox, step, stepwise

        unusual = self.subnormals != "gradual"
        mode = getattr(step, self.rounding.upper()) + (step.FLUSH if unusual else 0)
        mode += stepwise.COUNTING if tininess else 0
        order = getattr(stepwise, self.order.upper())
        odd = self.needs_odd or bool(tininess)
        loop = stepwise.loop(order, mode, self.product is None, odd, squares)
        # Without corrections it does not matter what their format is: it need not fit.
        correction = self.correction if self.order != "sequential" else self.accumulator
        rounded = (self.product or self.accumulator, self.accumulator, correction)
        places = tuple(self._place(g, tininess or "after") for g in rounded)
        left, right = (np.ascontiguousarray(v, np.float64) for v in (a, b))
        total = np.array(start, np.float64, order="C")
        error = np.zeros_like(total) if self.order != "sequential" else total
        terms, size = len(right), total.size

        def work(pieces: Iterable[tuple[int, int, int, int, np.ndarray | None]]) -> np.ndarray:
            counts = counting.nothing()
            for first, last, k0, k1, random in pieces:
                where = stepwise.Work(first, last, k0, k1)
                loop(left, right, total, error, places, where, random, counts)
            return counts

        if self.rounding != "stochastic":
            n = total.shape[1]
            counts = threads.in_pieces(
                lambda i, j: work([(i * n, j * n, 0, terms, None)]), len(total), size * terms
            )
            return total, error, _together(counts)

        seeds = chance.derived_words(done, terms * self.roundings)

        def tiles(i: int, j: int) -> Iterator[tuple[int, int, int, int, np.ndarray]]:
            for tile in range(i, j):
                first, last = tile * philox.TILE, min((tile + 1) * philox.TILE, size)
                for k0, k1, random in self._drawn(tile, last - first, seeds, chance.random_bits):
                    yield first, last, k0, k1, random

        counts = threads.in_pieces(
            lambda i, j: work(tiles(i, j)), -(-size // philox.TILE), size * terms
        )
        return total, error, _together(counts)

    def _place(self, f: Format, tininess: str):
        from fpemu.kernels import counting, stepwise

        target = target_of(f, self.saturation, carrier="float64", rounding=self.rounding)
        least = float(f.smallest_normal)
        keep, read = ("ftz" in self.subnormals, "daz" in self.subnormals)
        if self.rounding == "stochastic":
            # What reaches the threshold of the last place there.
            last, below = math.ldexp(1, f.emax - f.fraction_bits), float(f.smallest_subnormal) / 2
            over, tiny = (float(f.max),) * 2 + (last,), (least - below,) * 2 + (below,)
        else:
            over, tiny = (
                (
                    edge(f, self.rounding, negative=False),
                    edge(f, self.rounding, negative=True),
                    0.0,
                )
                for edge in (overflow_edge, normal_edge)
            )
        if tininess == "before":
            tiny = (least, least, 0.0)
        watch = counting.Watch(*over, *tiny, least)
        return stepwise.Place(target, least if keep else 0.0, least if read else 0.0, watch)

    def _drawn(
        self, tile: int, count: int, seeds: np.ndarray, random_bits: int
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Random numbers for some terms at a time: the first, the last and one more, the numbers."""
        from fpemu.kernels import philox

        each, terms = self.roundings, len(seeds) // self.roundings
        at_once = max(_BUFFER // (each * count), 1)
        buffer = np.empty((min(at_once, terms) * each, count))
        for k0 in range(0, terms, at_once):
            k1 = min(k0 + at_once, terms)
            random = buffer[: (k1 - k0) * each]
            philox.thresholds(tile, seeds[k0 * each : k1 * each], random_bits, random)
            yield k0, k1, random


def _together(counts: list[Any]) -> np.ndarray:
    """The counts of all pieces."""
    from fpemu.kernels import counting

    whole = np.sum(counts, axis=0)
    firsts = np.array([c[:, counting.FIRST_OVERFLOW] for c in counts])
    firsts = np.where(firsts < 0, np.iinfo(np.int64).max, firsts).min(axis=0)
    whole[:, counting.FIRST_OVERFLOW] = np.where(firsts == np.iinfo(np.int64).max, -1, firsts)
    cancelled = [c[:, counting.BITS_CANCELLED] for c in counts]
    whole[:, counting.BITS_CANCELLED] = np.max(cancelled, axis=0)
    return whole
