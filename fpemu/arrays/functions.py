"""NumPy's array functions on Arrays: what ``__array_function__`` does.

The entries of the table stand in `moving` and `computing`; what is in neither is refused.
"""

from __future__ import annotations

from typing import Any

from fpemu.arrays import computing as computing
from fpemu.arrays import moving as moving
from fpemu.arrays.table import FUNCTIONS
from fpemu.errors import ArgumentError, FpemuError, UnsupportedError

_IMMUTABLE = ("copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis")
_HINTS = {
    **dict.fromkeys(
        _IMMUTABLE, "an Array is immutable: make a new one, for example by numpy.where"
    ),
    **dict.fromkeys(("nanmean", "average"), "use fp.mean, or fp.sum(x * w) / fp.sum(w)"),
    **dict.fromkeys(
        ("tensordot", "kron", "cross"), "use fp.einsum, or fp.matmul and * with reshape"
    ),
    "astype": "use x.astype(format)",
    **dict.fromkeys(("savez", "savez_compressed"), "use numpy.save for each Array"),
    "savetxt": "use numpy.savetxt(file, numpy.asarray(x)), or numpy.save",
}


def apply(function: Any, args: tuple, kwargs: dict[str, Any]):
    """What ``__array_function__`` returns; `UnsupportedError` for what is not in the table."""
    entry = FUNCTIONS.get(function)
    name = f"{function.__module__}.{function.__name__}".replace("numpy.numpy", "numpy")
    if entry is None:
        hint = _HINTS.get(function.__name__, "use fp.sum, fp.dot or fp.matmul")
        raise UnsupportedError(
            f"{name} is not supported on an fpemu Array: it would compute outside the format; {hint}, "
            "or leave with numpy.asarray(x)"
        )
    try:
        return entry.run(*args, **kwargs)
    except FpemuError:
        raise
    except (TypeError, ValueError, IndexError, ZeroDivisionError, AttributeError) as error:
        raise ArgumentError(f"{name}: {error}") from error
