"""Our exceptions: each says what is wrong, which value, what is allowed and what to do.

Every error that fpemu raises on purpose derives from `FpemuError` and, beside it, from the
built-in class that a NumPy user would expect, so that ``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FpemuError(Exception):
    """Base of all errors that fpemu raises on purpose."""


class ArgumentError(FpemuError, ValueError):
    """An argument has a value that is not allowed; the message lists what is."""


class UnsupportedError(FpemuError, TypeError):
    """An operation that fpemu cannot do *right*, and therefore refuses."""


class SlowWarning(UserWarning):
    """The exact reference does what no kernel can: right, but thousands of times slower."""


class TrapError(FpemuError, ArithmeticError):
    """An IEEE exception that an `arithmetic` block traps was signalled."""


class DownloadError(FpemuError, OSError):
    """Data are neither kept on this machine nor to be had from the network; nothing was kept."""


class MissingExtraError(FpemuError, ImportError):
    """An optional package is needed; the message gives the install command."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> ArgumentError:
    """The error for a name that is not in a list of names, with a suggestion if one is near.

    >>> str(unknown("format", "fp61", ["fp16", "fp32"]))
    "unknown format 'fp61'; did you mean 'fp16'? allowed: fp16, fp32"
    """
    names = list(allowed)
    near = difflib.get_close_matches(str(value).lower(), names, n=1, cutoff=0.5)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return ArgumentError(f"unknown {kind} {value!r};{hint} allowed: {', '.join(names)}")


def missing_extra(package: str, purpose: str, extra: str) -> MissingExtraError:
    """The error for an optional package that is not installed.

    >>> str(missing_extra("scikit-learn", "the data set 'digits'", "data"))
    "the data set 'digits' needs scikit-learn, which is not installed; run: pip install 'fpemu[data]'"
    """
    return MissingExtraError(
        f"{purpose} needs {package}, which is not installed; run: pip install 'fpemu[{extra}]'"
    )
