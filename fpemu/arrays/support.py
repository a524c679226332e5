"""What NumPy's functions do with Arrays, as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from fpemu.arrays.functions import FUNCTIONS
from fpemu.arrays.ufuncs import UFUNCS


@dataclass(frozen=True)
class Row:
    """One of NumPy's functions: `support` is "rounded", "exact", "plain" or "refused"."""

    name: str
    protocol: str  # "ufunc" or "function"
    support: str
    how: str


def rows() -> list[Row]:
    """All ufuncs of this NumPy and all functions that it lets Arrays answer, by name.

    >>> [row.support for row in rows() if row.name in ("add", "sort", "isnan", "arctan")]
    ['rounded', 'refused', 'plain', 'exact']
    """
    kind = type(np.sum)
    found: dict[object, Row] = {}
    for module in (np, np.linalg, np.fft):
        prefix = module.__name__.removeprefix("numpy").removeprefix(".")
        for name in dir(module):
            value = getattr(module, name)
            protocol = (
                "ufunc"
                if isinstance(value, np.ufunc)
                else "function"
                if type(value) is kind
                else ""
            )
            if not protocol or value in found:
                continue
            entry = (UFUNCS if protocol == "ufunc" else FUNCTIONS).get(value)
            # Aliases (abs, pow) go by the function's own name.
            full = f"{prefix}.{value.__name__}".removeprefix(".")
            found[value] = Row(
                full, protocol, entry.kind if entry else "refused", entry.how if entry else ""
            )
    return sorted(found.values(), key=lambda row: (row.protocol != "ufunc", row.name))


def counts() -> dict[str, int]:
    """How many are right ("rounded", "exact", "plain") and how many refused; none escapes."""
    found = Counter(row.support for row in rows())
    return {"right": sum(found.values()) - found["refused"], **found, "escaping": 0}
