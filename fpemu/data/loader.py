"""`Loader`: batches in an order that depends on the seed and the epoch, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fpemu.data.dataset import Dataset
from fpemu.errors import ArgumentError
from fpemu.random import Stream


class Loader:
    """Batches of (inputs, targets), epoch after epoch.

    Parameters
    ----------
    data : a `Dataset`, of which the training rows are taken, or a pair of arrays of equal length.
    batch_size : rows per batch; the last one of an epoch may have fewer, unless `drop_last`.
    shuffle : the rows of epoch n (the first is 1) come in the order
        ``Stream(seed, f"epoch/{n}").permutation(rows)``; without, as they stand.

    Iterating gives the rest of the present epoch; the next iteration gives the next epoch.
    `state_dict` says where it stands: `position` counts the batches of this epoch handed out.
    Raises `ArgumentError` for sizes that do not fit.

    >>> loader = Loader((np.arange(5), np.arange(5)), batch_size=2, shuffle=False)
    >>> [x.tolist() for x, y in loader], len(loader), loader.epoch
    ([[0, 1], [2, 3], [4]], 3, 2)
    """

    def __init__(
        self,
        data: Dataset | tuple[Any, Any],
        batch_size: int = 32,
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        x, y = (data.train_x, data.train_y) if isinstance(data, Dataset) else map(np.asarray, data)
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            raise ArgumentError(
                f"a loader takes inputs and targets of the same number of rows, got {x.shape} and {y.shape}"
            )
        self.batch_size = whole(batch_size, "batch_size", low=1)
        self.seed = whole(seed, "seed", low=0)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.epoch, self.position = 1, 0
        self._x, self._y = x, y
        if not len(self):
            raise ArgumentError(
                f"drop_last leaves nothing: {len(x)} rows are fewer than batch_size={batch_size}"
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole_ones, rest = divmod(len(self._x), self.batch_size)
        return whole_ones + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ((self._x[rows], self._y[rows]) for rows in self.rows())

    def rows(self) -> Iterator[np.ndarray]:
        """The rest of the present epoch as row numbers; see `Loader`."""
        order = self.order()
        while self.position < len(self):
            start = self.position * self.batch_size
            self.position += 1
            yield order[start : start + self.batch_size]
        self.epoch, self.position = self.epoch + 1, 0

    def order(self) -> np.ndarray:
        """The order of the rows in the present epoch."""
        if not self.shuffle:
            return np.arange(len(self._x))
        return Stream(self.seed, f"epoch/{self.epoch}").permutation(len(self._x))

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: epoch, and position in it.

        >>> loader = Loader((np.arange(4), np.arange(4)), batch_size=1, seed=3)
        >>> batches = iter(loader)
        >>> _ = next(batches), next(batches)
        >>> other = Loader((np.arange(4), np.arange(4)), batch_size=1, seed=3)
        >>> other.load_state_dict(loader.state_dict())
        >>> [x.item() for x, y in other] == [x.item() for x, y in batches]
        True
        """
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where another loader of the same data, batch size and seed stood."""
        epoch, position = (whole(state.get(k), k, low=0) for k in ("epoch", "position"))
        if epoch < 1 or position > len(self):
            raise ArgumentError(
                f"epoch {epoch}, position {position} is not in this loader's epochs of {len(self)} batches"
            )
        self.epoch, self.position = epoch, position


def whole(value: object, name: str, *, low: int) -> int:
    """`value` as an int of at least `low`, NumPy's integers included, or `ArgumentError`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        kind = "a non-negative integer" if low == 0 else "a positive integer"
        raise ArgumentError(f"{name} must be {kind}, got {value!r}")
    return int(value)
