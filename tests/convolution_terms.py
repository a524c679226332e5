"""Which products a convolution and its gradients sum, and in which order: by their definitions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import fpemu as fp
from fpemu import exact

Pairs = list[tuple[float, float]]
Placed = Iterator[tuple[tuple[int, ...], Pairs]]


@dataclass(frozen=True)
class Moves:
    """Stride, padding (before and after) and dilation by axis, and groups."""

    stride: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] | None = None
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def padded(self, x: np.ndarray) -> np.ndarray:
        after = self.before if self.after is None else self.after
        around = zip(self.before, after, strict=True)
        return np.pad(np.asarray(x, float), ((0, 0), (0, 0), *around))

    def under(self, p: int, q: int, i: int, j: int) -> tuple[int, int]:
        """The padded pixel under kernel position (i, j) for element (p, q) of the result."""
        (s, t), (d, e) = self.stride, self.dilation
        return p * s + i * d, q * t + j * e


def forward(x: np.ndarray, w: np.ndarray, size: tuple[int, int], m: Moves) -> Placed:
    """Pairs (weight, pixel) of each element of the convolution: channels, then kernel rows, columns."""
    padded, each = m.padded(x), w.shape[0] // m.groups
    for n, o, p, q in np.ndindex(len(x), w.shape[0], *size):
        first = o // each * w.shape[1]
        yield (
            (n, o, p, q),
            [
                (float(w[o, c, i, j]), float(padded[(n, first + c, *m.under(p, q, i, j))]))
                for c, i, j in np.ndindex(w.shape[1:])
            ],
        )


def stamped(above: np.ndarray, w: np.ndarray, size: tuple[int, int], m: Moves) -> Placed:
    """Pairs (weight, element of `above`) of each pixel: filters, then kernel positions from the last."""
    filters = w.shape[0] // m.groups
    reached: dict[tuple[int, ...], tuple[int, int]] = {}
    for p, q, i, j in np.ndindex(*above.shape[2:], *w.shape[2:]):
        row, column = m.under(p, q, i, j)
        reached[row - m.before[0], column - m.before[1], i, j] = p, q
    for n, c, y, x in np.ndindex(len(above), w.shape[1] * m.groups, *size):
        group, channel = divmod(c, w.shape[1])
        pairs: Pairs = []
        for o in range(group * filters, (group + 1) * filters):
            for i, j in itertools.product(*(reversed(range(k)) for k in w.shape[2:])):
                at = reached.get((y, x, i, j))
                pairs.append((float(w[o, channel, i, j]), float(above[n, o, *at]) if at else 0.0))
        yield (n, c, y, x), pairs


def lying(x: np.ndarray, above: np.ndarray, shape: tuple[int, ...], m: Moves) -> Placed:
    """Pairs (element of `above`, pixel) of each weight: images, then rows and columns of `above`."""
    padded, each = m.padded(x), shape[0] // m.groups
    for o, c, i, j in np.ndindex(shape):
        channel = o // each * shape[1] + c
        yield (
            (o, c, i, j),
            [
                (float(above[n, o, p, q]), float(padded[(n, channel, *m.under(p, q, i, j))]))
                for n, p, q in np.ndindex(len(above), *above.shape[2:])
            ],
        )


def summed(placed: Placed, shape: tuple[int, ...], judge: Callable[[Pairs], float]) -> np.ndarray:
    """What `judge` makes of the pairs of each place."""
    out = np.full(shape, np.nan)
    for place, pairs in placed:
        out[place] = judge(pairs)
    return out


def in_halves(pairs: Pairs) -> float:
    """Every product and sum in NumPy's float16."""
    total = np.float16(0)
    for a, b in pairs:
        total = np.float16(total + np.float16(np.float16(a) * np.float16(b)))
    return float(total)


def exactly_in(f: fp.Format) -> Callable[[Pairs], float]:
    """Every product and sum by the reference, rounded to `f`."""

    def judge(pairs: Pairs) -> float:
        return float(exact.dot([a for a, _ in pairs], [b for _, b in pairs], f))

    return judge
