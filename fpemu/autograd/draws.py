"""Random bits by (seed, place, step): the same run draws the same bits, whatever else is in it.

In training every step opens a block; the n-th draw at a place in a step depends on nothing but the
seed, the place, the step and n. Outside of a block the seed is that of the `arithmetic` in force.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
from collections import Counter
from collections.abc import Iterator

from fpemu import context
from fpemu.chance import Chance


class _Block:
    def __init__(self, seed: int, step: int) -> None:
        self.seed, self.step = seed, step
        self.drawn: Counter[str] = Counter()


_block: contextvars.ContextVar[_Block | None] = contextvars.ContextVar("fpemu_draws", default=None)


@contextlib.contextmanager
def block(seed: int, step: int) -> Iterator[None]:
    """What is drawn inside belongs to step number `step` of the run with this `seed`."""
    token = _block.set(_Block(seed, step))
    try:
        yield
    finally:
        _block.reset(token)


def key(place: str) -> int:
    """64 bits for the next draw at `place`.

    >>> with block(seed=1, step=7):
    ...     first, second, elsewhere = key("a"), key("a"), key("b")
    >>> with block(seed=1, step=7):
    ...     key("b") == elsewhere, key("a") == first, first != second
    (True, True, True)
    """
    now = _block.get()
    if now is None:
        name = f"{context.current().next_chance().seed}//{place}/0"
    else:
        name = f"{now.seed}/{now.step}/{place}/{now.drawn[place]}"
        now.drawn[place] += 1
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def chance(place: str, random_bits: int = 24) -> Chance:
    """The random bits of the next stochastic rounding at `place`."""
    return Chance(key(place), random_bits)
