"""Rows of a product on several threads: each row is computed by one, so that no bit depends on how
many there are."""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import itertools
import os
from collections.abc import Callable

import numpy as np

_LEAST_WORK = 1 << 20  # multiply-adds below which handing work to a thread does not pay


def threads() -> int:
    """How many threads products may use: Numba's number (``NUMBA_NUM_THREADS``, else the cores)."""
    from numba import config

    return int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def by_rows(
    work: Callable[[np.ndarray, np.ndarray], object], left: np.ndarray, result: np.ndarray
) -> list[object]:
    """``work(rows of left, the same rows of result)`` for all rows, and what it returned."""
    return in_pieces(
        lambda i, j: work(left[i:j], result[i:j]), len(left), left.size * result.shape[1]
    )


def in_pieces(work: Callable[[int, int], object], count: int, steps: int) -> list[object]:
    """``work(i, j)`` for ranges that cover `count` pieces, and what it returned; `steps` is how many
    multiply-adds that is in all."""
    parts = min(threads(), count)
    if parts < 2 or steps < _LEAST_WORK or _inside.get():
        return [work(0, count)]
    # More pieces than threads, each for whoever comes first: nobody waits for a processor that is slow or
    # busy with something else.
    number = min(count, max(parts, min(4 * parts, count // 8)))
    ends = np.linspace(0, count, number + 1).astype(int).tolist()
    work(0, 0)  # compiles, if need be, before there are threads
    left = list(enumerate(itertools.pairwise(ends)))
    todo, done = iter(left), {}

    def take() -> None:
        for which, piece in todo:
            done[which] = work(*piece)

    handed = [_helpers(parts - 1).submit(_as_helper, take) for _ in range(parts - 1)]
    try:
        take()
    finally:  # arrays that a helper writes to must not be let go before it is done
        left.clear()
        started = [helper for helper in handed if not helper.cancel()]
        concurrent.futures.wait(started)
    for helper in started:
        helper.result()
    return [done[which] for which in range(number)]


# A helper that hands work to helpers might wait for itself.
_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("fpemu_helper", default=False)


def _as_helper(take: Callable[[], None]) -> None:
    _inside.set(True)
    take()


@functools.cache
def _helpers(count: int) -> concurrent.futures.ThreadPoolExecutor:
    """Threads that wait for work, kept because starting them takes as long as a small product."""
    return concurrent.futures.ThreadPoolExecutor(count, thread_name_prefix="fpemu")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # a child of a fork has none of them
