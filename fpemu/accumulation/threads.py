"""Rows of a product on several threads: each row is computed by one, so that no bit depends on how
many there are."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable

import numpy as np

_LEAST_WORK = 1 << 21  # multiply-adds below which starting threads does not pay


def count() -> int:
    """How many threads products may use: Numba's number (``NUMBA_NUM_THREADS``, else the cores)."""
    from numba import config

    return int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def by_rows(
    work: Callable[[np.ndarray, np.ndarray], object], left: np.ndarray, result: np.ndarray
) -> list[object]:
    """``work(rows of left, the same rows of result)`` for all rows, and what it returned."""
    rows = left.shape[0]
    parts = min(count(), rows)
    if parts < 2 or rows * left.shape[1] * result.shape[1] < _LEAST_WORK:
        return [work(left, result)]
    ends = np.linspace(0, rows, parts + 1).astype(int)
    pieces = [slice(a, b) for a, b in itertools.pairwise(ends)]
    work(left[:0], result[:0])  # compiles, if need be, before there are threads
    with concurrent.futures.ThreadPoolExecutor(parts) as pool:
        return list(pool.map(lambda piece: work(left[piece], result[piece]), pieces))
