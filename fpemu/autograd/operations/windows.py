"""Which elements of an axis each window of a pooling takes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from fpemu.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows along an axis of `size` elements: window i takes ``places[i, t]`` for t = 0, 1, ...
    where ``inside[i, t]``, `gap` elements apart; others lie in the padding, or belong to longer windows
    only. `lengths` are those by which an average that counts the padding divides."""

    size: int
    places: np.ndarray
    inside: np.ndarray
    lengths: np.ndarray
    gap: int = 1

    @property
    def count(self) -> int:
        """How many windows there are."""
        return len(self.places)

    @property
    def most(self) -> int:
        """The length of the longest."""
        return self.places.shape[1]

    @functools.cached_property
    def whole(self) -> bool:
        """Whether all are of one length and without padding."""
        return bool(self.inside.all())

    @functools.cached_property
    def around(self) -> tuple[int, int]:
        """How many places lie before the axis begins, and after its end."""
        return max(0, -int(self.places.min())), max(0, int(self.places.max()) + 1 - self.size)

    @functools.cached_property
    def picks(self) -> tuple[slice | np.ndarray, ...]:
        """For t = 0, 1, ... the index that takes element t of all windows from a padded axis."""
        picks: list[slice | np.ndarray] = []
        for places in self.places.T + self.around[0]:
            steps = np.unique(np.diff(places))
            if len(steps) > 1 or (len(steps) == 1 and steps[0] < 1):
                picks.append(places)
            else:
                step = int(steps[0]) if len(steps) else 1
                picks.append(slice(int(places[0]), int(places[-1]) + 1, step))
        return tuple(picks)

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """How many elements each window takes."""
        return self.inside.sum(axis=1)

    @functools.cached_property
    def covers(self) -> np.ndarray:
        """For each element the windows that take it, in ascending order: shape (size, most), filled up
        with `count`, the number of no window."""
        windows, which = np.nonzero(self.inside)
        places = self.places[windows, which]
        order = np.lexsort((windows, places))
        places, windows = places[order], windows[order]
        rank = np.arange(len(places)) - np.searchsorted(places, places)
        out = np.full((self.size, int(rank.max(initial=0)) + 1), self.count)
        out[places, rank] = windows
        return out


@functools.lru_cache(maxsize=256)
def regular(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> Windows:
    """Windows of `kernel` elements `dilation` apart, one at every `stride`, with padding at both ends.

    In `ceil_mode` a last window that lies in part beyond the padding counts, if it begins before it.
    """
    span = check_padding(kernel, padding, dilation)
    room = size + 2 * padding - span
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1 or size < 1:
        raise ArgumentError(
            f"pooling: the window spans {span}, more than the {size + 2 * padding} elements of the "
            "padded input"
        )
    first = np.arange(count) * stride - padding
    places = first[:, None] + np.arange(kernel) * dilation
    inside = (places >= 0) & (places < size)
    if not inside.any(axis=1).all():
        raise ArgumentError(
            f"pooling: with kernel {kernel}, padding {padding} and dilation {dilation} a window of an "
            f"axis of {size} lies wholly in the padding; use less padding or dilation"
        )
    lengths = np.minimum(first + kernel, size + padding) - first
    return Windows(size, places, inside, lengths, dilation)


def check_padding(kernel: int, padding: int, dilation: int) -> int:
    """How many elements a window spans; raise `ArgumentError` if half of it is less than the padding."""
    span = (kernel - 1) * dilation + 1
    if 2 * padding > span:
        raise ArgumentError(
            f"pooling: padding {padding} must be at most half of the window, which spans {span}"
        )
    return span


@functools.lru_cache(maxsize=256)
def adaptive(size: int, count: int) -> Windows:
    """`count` windows over an axis: window i from floor(i * size / count) up to, without it,
    ceil((i + 1) * size / count)."""
    if size < 1:
        raise ArgumentError("adaptive pooling needs at least one element along each axis, got none")
    i = np.arange(count)
    first, end = i * size // count, -(-(i + 1) * size // count)
    lengths = end - first
    places = first[:, None] + np.arange(int(lengths.max(initial=1)))
    inside = places < end[:, None]
    return Windows(size, np.minimum(places, size - 1), inside, lengths)
