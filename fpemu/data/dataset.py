"""`Dataset`: checked inputs and targets, split into training and test rows."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpemu.errors import ArgumentError, unknown
from fpemu.random import Stream

NAMES = ("digits",)
MOST_CLASSES = 10_000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of numbers and their classes; see `Dataset.split` for how they are divided."""

    name: str
    train_x: np.ndarray  # (rows, features) float32
    train_y: np.ndarray  # (rows,) int64
    test_x: np.ndarray
    test_y: np.ndarray

    @property
    def features(self) -> int:
        """Numbers per row."""
        return self.train_x.shape[1]

    @property
    def classes(self) -> int:
        """Number of classes: the largest target plus one."""
        return int(max(self.train_y.max(), self.test_y.max())) + 1

    @classmethod
    def split(
        cls, name: str, x: object, y: object, *, test_share: float = 0.2, seed: int = 0
    ) -> Dataset:
        """Check `x` (rows, features) and `y` (rows,) and split them at random by `seed`.

        The test part has ``ceil(rows * test_share)`` rows. Raises `ArgumentError` for NaN or
        infinite inputs (with the first position; float32 is what counts), shapes that do not fit,
        targets that are not integers from 0 to 9999, or fewer than two rows.

        >>> part = Dataset.split("mine", np.eye(10), np.arange(10))
        >>> part.train_x.shape, part.test_x.shape
        ((8, 10), (2, 10))
        """
        x, y = np.asarray(x), np.asarray(y)
        if x.ndim != 2 or y.ndim != 1 or len(x) != len(y) or len(x) < 2 or x.shape[1] == 0:
            raise ArgumentError(
                f"data {name!r}: inputs must be (rows, features) and targets (rows,) with at least "
                f"2 rows and 1 feature, got {x.shape} and {y.shape}"
            )
        if x.dtype.kind not in "fiub":
            raise ArgumentError(f"data {name!r}: inputs must be numbers, got dtype {x.dtype}")
        with np.errstate(over="ignore"):
            values = x.astype(np.float32)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = map(int, bad[0])
            raise ArgumentError(
                f"data {name!r}: {x[row, column]} at row {row}, column {column} ({len(bad)} such "
                "values); inputs must be finite float32: drop, replace or rescale them"
            )
        if y.dtype.kind not in "iuf" or not np.all((y >= 0) & (y < MOST_CLASSES) & (y % 1 == 0)):
            raise ArgumentError(
                f"data {name!r}: targets must be integers from 0 to {MOST_CLASSES - 1}, the number "
                "of a row's class"
            )
        whole = y.astype(np.int64)
        order = Stream(seed, "split").permutation(len(x))
        tests = int(np.ceil(len(x) * test_share))
        train, test = order[tests:], order[:tests]
        return cls(name, values[train], whole[train], values[test], whole[test])


def load(name: str, *, seed: int = 0) -> Dataset:
    """The data set `name`: "digits", or a file ``.npz`` (arrays x and y) or ``.csv``.

    A ``.csv`` file holds numbers only, the class in the last column. Raises `ArgumentError` for
    an unknown name or unreadable file, `MissingExtraError` where a package is missing.

    >>> load("digits").train_x.shape
    (1437, 64)
    """
    name = str(name)
    if name == "digits":
        from fpemu.data.digits import digits

        return digits(seed=seed)
    path = Path(name)
    if path.suffix not in (".npz", ".csv"):
        raise unknown("data", name, [*NAMES, "FILE.npz", "FILE.csv"])
    try:
        if path.suffix == ".npz":
            loaded = np.load(path, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it is not a .npz archive")
            with loaded as arrays:
                x, y = arrays["x"], arrays["y"]
        else:
            with warnings.catch_warnings(action="ignore"):  # an empty file is refused below
                table = np.loadtxt(path, delimiter=",", ndmin=2)
            x, y = table[:, :-1], table[:, -1]
    except KeyError as error:
        raise ArgumentError(f"data {name!r} must hold arrays x and y: {error.args[0]}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArgumentError(f"data {name!r} cannot be read: {error}") from None
    return Dataset.split(name, x, y, seed=seed)
