"""Progress of long runs on standard error: tqdm's bar where installed, else a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], *, total: int, label: str, show: bool = True) -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done unless `show` is false."""
    if not show:
        yield from items
        return
    try:
        from tqdm import tqdm
    except ImportError:
        for done, item in enumerate(items, 1):
            yield item
            print(f"{label}: {done}/{total}", file=sys.stderr, flush=True)
        return
    yield from tqdm(items, total=total, desc=label, leave=False, file=sys.stderr)
