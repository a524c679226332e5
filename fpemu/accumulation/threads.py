"""Rows of a product on several threads: each row is computed by one, so that no bit depends on how
many there are."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable

import numpy as np

_LEAST_WORK = 1 << 21  # multiply-adds below which starting threads does not pay


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
    if parts < 2 or steps < _LEAST_WORK:
        return [work(0, count)]
    ends = np.linspace(0, count, parts + 1).astype(int).tolist()
    work(0, 0)  # compiles, if need be, before there are threads
    with concurrent.futures.ThreadPoolExecutor(parts) as pool:
        return list(pool.map(lambda piece: work(*piece), itertools.pairwise(ends)))
