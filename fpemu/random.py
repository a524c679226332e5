"""Random numbers that depend on a seed and a name, and on nothing else.

Only raw bits of NumPy's Philox generator are used, whose stream NumPy promises never to change;
what is made of them is made here, so that the same seed gives the same model on any machine.
"""

from __future__ import annotations

import contextvars
import hashlib

import numpy as np

from fpemu.errors import ArgumentError


class Stream:
    """A stream of random numbers keyed by (seed, name)."""

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest, "little"))

    def raw(self, count: int) -> np.ndarray:
        """`count` uniformly distributed uint64."""
        return self._bits.random_raw(count)

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        """float64 in [low, high), multiples of 2**-53 of the way."""
        unit = (self.raw(int(np.prod(shape))) >> np.uint64(11)) * 2.0**-53
        return (low + (high - low) * unit).reshape(shape)

    def permutation(self, n: int) -> np.ndarray:
        """0 to n-1 in random order: the order of n random keys."""
        return np.argsort(self.raw(n), kind="stable")


_initial: contextvars.ContextVar[Stream | None] = contextvars.ContextVar("fpemu_init", default=None)


def manual_seed(seed: int) -> None:
    """Restart the stream from which new layers draw their weights; without it the seed is 0.

    `seed` is an integer of any size, else `ArgumentError`. Scoped like a context variable: threads
    and tasks have their own.

    >>> manual_seed(0)
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise ArgumentError(f"seed must be an integer, got {seed!r}")
    _initial.set(Stream(seed, "init"))


def initial_stream() -> Stream:
    """The stream from which new layers draw their weights."""
    stream = _initial.get()
    if stream is None:
        manual_seed(0)
        stream = _initial.get()
        assert stream is not None
    return stream
