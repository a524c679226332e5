"""`Dataset`: checked inputs and targets, split into training and test rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fpemu.errors import ArgumentError, unknown
from fpemu.random import Stream

MOST_CLASSES = 10_000
INPUTS = ("numbers", "tokens")
TARGETS = ("classes", "numbers")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of inputs and their targets; see `Dataset.split` for how they are divided.

    Inputs are float32 of shape (rows, ...), images (rows, channels, height, width), or int64 where
    they are tokens of sequences (rows, time). Targets are int64 classes of shape (rows, ...), one for
    each row or each token, or float32 numbers.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row of inputs."""
        return self.train_x.shape[1:]

    @property
    def features(self) -> int:
        """Numbers per row."""
        return math.prod(self.shape)

    @property
    def classes(self) -> int:
        """Number of classes: the largest target plus one. `ArgumentError` if targets are numbers."""
        if self.train_y.dtype.kind != "i":
            raise ArgumentError(f"data {self.name!r} has numbers as targets, not classes")
        return int(max(y.max() for y in (self.train_y, self.test_y) if y.size)) + 1

    def flat(self) -> Dataset:
        """The same with each row of inputs as one vector: (rows, features).

        >>> Dataset.split("images", np.zeros((5, 1, 2, 3)), np.arange(5)).flat().train_x.shape
        (4, 6)
        """
        flat = {k: getattr(self, k).reshape(-1, self.features) for k in ("train_x", "test_x")}
        return replace(self, **flat)

    def images(self) -> Dataset:
        """The same with rows as images (channels, height, width): vectors of a square number of numbers,
        such as the digits, as squares of one channel. `ArgumentError` for others.

        >>> Dataset.split("rows", np.zeros((5, 64)), np.arange(5)).images().train_x.shape
        (4, 1, 8, 8)
        """
        if len(self.shape) == 3:
            return self
        side = math.isqrt(self.features)
        if len(self.shape) != 1 or side**2 != self.features:
            raise ArgumentError(
                f"data {self.name!r} has rows of shape {self.shape}, which are no images: channels, height "
                "and width, or a vector of a square number of numbers"
            )
        parts = ("train_x", "test_x")
        return replace(self, **{k: getattr(self, k).reshape(-1, 1, side, side) for k in parts})

    @classmethod
    def split(
        cls,
        name: str,
        x: object,
        y: object,
        *,
        test_share: float = 0.2,
        seed: int = 0,
        inputs: str = "numbers",
        targets: str = "classes",
    ) -> Dataset:
        """Check `x` (rows, ...) and `y` (rows, ...) and split them at random by `seed`.

        The test part has ``ceil(rows * test_share)`` rows: the first ones of
        ``Stream(seed, "split").permutation(rows)``; the others, in this order, are trained on.
        `inputs` are "numbers" or "tokens" (integers from 0, for embeddings), `targets` "classes" or
        "numbers". Raises `ArgumentError` for NaN or infinite inputs (with the first position; float32
        is what counts), shapes that do not fit, classes or tokens that are not integers from 0 (classes
        to 9999), fewer than two rows, or a share that leaves no row to train on.

        >>> part = Dataset.split("mine", np.eye(10), np.arange(10))
        >>> part.train_x.shape, part.test_x.shape
        ((8, 10), (2, 10))
        """
        x, y = checked(name, x, y, inputs=inputs, targets=targets)
        tests = _tests(len(x), test_share)
        order = Stream(seed, "split").permutation(len(x))
        train, test = order[tests:], order[:tests]
        return cls(name, x[train], y[train], x[test], y[test])


def _tests(rows: int, share: float) -> int:
    tests = int(np.ceil(rows * share)) if 0 <= share < 1 else rows
    if tests >= rows:
        raise ArgumentError(
            f"test_share must be from 0 to below 1 and leave a row to train on, got {share!r} of "
            f"{rows} rows"
        )
    return tests


def checked(
    name: str, x: object, y: object, *, inputs: str = "numbers", targets: str = "classes"
) -> tuple[np.ndarray, np.ndarray]:
    """`x` and `y` as a `Dataset` holds them, or `ArgumentError`; see `Dataset.split`."""
    if inputs not in INPUTS:
        raise unknown("kind of inputs", inputs, INPUTS)
    if targets not in TARGETS:
        raise unknown("kind of targets", targets, TARGETS)
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y) or len(x) < 2 or x.size == 0 or y.size == 0:
        raise ArgumentError(
            f"data {name!r}: inputs must be (rows, features) or (rows, ...) and targets (rows,) or "
            f"(rows, ...) with at least 2 rows and 1 feature, got {x.shape} and {y.shape}"
        )
    x = _numbers(name, "inputs", x) if inputs == "numbers" else _integers(name, "tokens", x, 2**31)
    if targets == "numbers":
        return x, _numbers(name, "targets", y)
    return x, _integers(name, "targets", y, MOST_CLASSES)


def _numbers(name: str, what: str, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "fiub":
        raise ArgumentError(f"data {name!r}: {what} must be numbers, got dtype {x.dtype}")
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        where = np.unravel_index(int(np.argmin(finite)), x.shape)
        row, *rest = map(int, where)
        column = f", column {rest[0]}" if len(rest) == 1 else f", position {rest}" if rest else ""
        raise ArgumentError(
            f"data {name!r}: {x[where]} at row {row}{column} ({np.sum(~finite)} such values); {what} "
            "must be finite float32: drop, replace or rescale them"
        )
    return values


def _integers(name: str, what: str, y: np.ndarray, limit: int) -> np.ndarray:
    if y.dtype.kind not in "iuf" or not np.all((y >= 0) & (y < limit) & (y % 1 == 0)):
        meant = "the number of a row's class" if what == "targets" else "the number of a symbol"
        raise ArgumentError(
            f"data {name!r}: {what} must be integers from 0 to {limit - 1}, {meant}"
        )
    return y.astype(np.int64)
