"""Made-up data, each a few lines of construction: the same bits from the same seed on any machine.

All randomness is raw bits of ``Stream(seed, name)``; everything else is basic operations of float64,
except cosines and sines, which are fpemu's own, correctly rounded in FP32.
"""

from __future__ import annotations

import math
import numbers

import numpy as np

from fpemu.data.dataset import Dataset
from fpemu.data.loader import whole
from fpemu.errors import ArgumentError
from fpemu.random import Stream


def moons(rows: int = 500, *, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Two half circles that reach into each other; two classes in turn.

    Class 0 is (cos a, sin a), class 1 is (1 - cos a, 1/2 - sin a), with angles a uniform in [0, pi) and
    normal noise (see `normal`) of standard deviation `noise` added to both numbers.

    >>> moons(10).train_x.shape, moons(10).classes
    ((8, 2), 2)
    """
    rows, noise = whole(rows, "rows", low=2), _noise(noise)
    stream = Stream(seed, "moons")
    cosine, sine = _circle(stream.uniform(0.0, math.pi, (rows,)))
    kind = np.arange(rows) % 2
    x = np.where(kind == 0, cosine, 1 - cosine)
    y = np.where(kind == 0, sine, 0.5 - sine)
    points = np.stack([x, y], axis=1) + noise * normal(stream, (rows, 2))
    return Dataset.split("moons", points, kind, seed=seed)


def spirals(
    rows: int = 600, *, arms: int = 2, turns: float = 1.5, noise: float = 0.02, seed: int = 0
) -> Dataset:
    """Spiral arms around the origin, each a class, one row for each in turn.

    A point of arm k is r * (cos a, sin a) with r uniform in [0, 1) and a = 2 pi (turns * r + k / arms),
    rounded to FP32, plus normal noise of standard deviation `noise`.

    >>> spirals(30, arms=3).classes
    3
    """
    rows, arms, noise = whole(rows, "rows", low=2), whole(arms, "arms", low=1), _noise(noise)
    if not isinstance(turns, numbers.Real) or not abs(float(turns)) <= 1000:
        raise ArgumentError(f"turns must be a number from -1000 to 1000, got {turns!r}")
    stream = Stream(seed, "spirals")
    kind = np.arange(rows) % arms
    radius = stream.uniform(0.0, 1.0, (rows,))
    directions = np.stack(_circle(2 * math.pi * (float(turns) * radius + kind / arms)), axis=1)
    points = radius[:, None] * directions + noise * normal(stream, (rows, 2))
    return Dataset.split("spirals", points, kind, seed=seed)


def xor(rows: int = 400, *, noise: float = 0.0, seed: int = 0) -> Dataset:
    """Points in the square [-1, 1), of class 1 where exactly one of the two numbers is below 0.

    Normal noise of standard deviation `noise` is added afterwards.

    >>> data = xor(10)
    >>> bool(np.all(data.train_y == (data.train_x[:, 0] * data.train_x[:, 1] < 0)))
    True
    """
    rows, noise = whole(rows, "rows", low=2), _noise(noise)
    stream = Stream(seed, "xor")
    points = stream.uniform(-1.0, 1.0, (rows, 2))
    kind = (points[:, 0] < 0) ^ (points[:, 1] < 0)
    points = points + noise * normal(stream, (rows, 2))
    return Dataset.split("xor", points, kind.astype(np.int64), seed=seed)


def bars(
    rows: int = 500, *, size: int = 8, noise: float = 0.2, flat: bool = False, seed: int = 0
) -> Dataset:
    """Images (rows, 1, size, size) with one bar of pixels 1: class 0 lies in a row, class 1 stands.

    Which row or column is random; to every pixel, uniform noise in [0, `noise`) is added.

    >>> bars(10).train_x.shape, bars(10, flat=True).train_x.shape
    ((8, 1, 8, 8), (8, 64))
    """
    rows, size, noise = whole(rows, "rows", low=2), whole(size, "size", low=2), _noise(noise)
    stream = Stream(seed, "bars")
    kind = np.arange(rows) % 2
    position = (stream.raw(rows) % np.uint64(size)).astype(np.int64)
    lines = np.arange(size)[None, :] == position[:, None]  # (rows, size): which line is the bar
    lying = np.broadcast_to(lines[:, :, None], (rows, size, size))
    pixels = np.where(kind[:, None, None] == 0, lying, lying.swapaxes(1, 2)).astype(np.float64)
    pixels = pixels + noise * stream.uniform(0.0, 1.0, pixels.shape)
    data = Dataset.split("bars", pixels[:, None], kind, seed=seed)
    return data.flat() if flat else data


def copy_task(
    rows: int = 1000, *, length: int = 5, symbols: int = 8, delay: int = 0, seed: int = 0
) -> Dataset:
    """Sequences of tokens to be repeated after a signal: the task that shows what a model remembers.

    Tokens: 0 blank, 1 the signal, 2 to ``symbols + 1`` the symbols. The input is `length` random symbols,
    `delay` blanks, the signal, and ``length - 1`` blanks; the target is blank up to the signal and from
    there the symbols. Both are int64 of shape (rows, 2 * length + delay); a model gives logits
    (rows, time, symbols + 2). After S. Hochreiter and J. Schmidhuber, Long short-term memory, 1997.

    >>> data = copy_task(2, length=3, symbols=4)
    >>> x, y = data.train_x[0], data.train_y[0]
    >>> x[3:].tolist(), y[:3].tolist(), bool(np.all(x[:3] == y[3:]))
    ([1, 0, 0], [0, 0, 0], True)
    """
    rows, length = whole(rows, "rows", low=2), whole(length, "length", low=1)
    symbols, delay = whole(symbols, "symbols", low=1), whole(delay, "delay", low=0)
    drawn = Stream(seed, "copy").raw(rows * length).reshape(rows, length) % np.uint64(symbols)
    x = np.zeros((rows, 2 * length + delay), np.int64)
    y = np.zeros_like(x)
    x[:, :length] = drawn.astype(np.int64) + 2
    x[:, length + delay] = 1
    y[:, length + delay :] = x[:, :length]
    return Dataset.split("copy", x, y, inputs="tokens", seed=seed)


def normal(stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
    """Nearly normal numbers, float64: the sum of 12 uniform ones minus 6, formed exactly, rounded once.

    Mean 0, variance 1, never beyond 6 (Irwin and Hall): no logarithm, whose last bit would depend on
    the machine.
    """
    bits = stream.raw(12 * math.prod(shape)).reshape(12, *shape) >> np.uint64(11)
    total = bits.sum(axis=0, dtype=np.uint64).astype(np.int64)  # below 12 * 2**53
    return (total - 6 * 2**53) * 2.0**-53


def _circle(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from fpemu.arrays import array

    angle = array(angles, "fp32")
    return tuple(np.asarray(f(angle), np.float64) for f in (np.cos, np.sin))  # type: ignore[return-value]


def _noise(value: object) -> float:
    if not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
        raise ArgumentError(f"noise must be a finite number from 0, got {value!r}")
    return float(value)
