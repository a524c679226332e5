"""Which place an operation stands at, and who says how it rounds there.

Modules name places while they run (`standing`); operations on tensors inside take names of their own
below it: the first addition in ``layers.3`` stands at ``layers.3.add``, the next at ``layers.3.add_2``.
A policy in force provides the sites (`providing`); without one everything is FP32.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections import Counter
from collections.abc import Callable, Iterator

from fpemu.autograd.site import Site, plain_site
from fpemu.formats import FP32, Format

# From the place, the operation's name and the formats of its inputs.
Provider = Callable[[str, str, tuple[Format, ...]], Site]


def _fp32(place: str, operation: str, formats: tuple[Format, ...]) -> Site:
    return plain_site(place, FP32)


_provider: contextvars.ContextVar[Provider] = contextvars.ContextVar("fpemu_sites", default=_fp32)
_standing: contextvars.ContextVar[tuple[str, Counter[str]] | None] = contextvars.ContextVar(
    "fpemu_place", default=None
)


def site(place: str, operation: str = "", formats: tuple[Format, ...] = ()) -> Site:
    """How `operation` rounds at `place`, on inputs of these formats."""
    return _provider.get()(place, operation, formats)


def provide(provider: Provider) -> contextvars.Token[Provider]:
    """From now on sites come from `provider`, until `withdraw` is called with what this returns."""
    return _provider.set(provider)


def withdraw(token: contextvars.Token[Provider]) -> None:
    """See `provide`."""
    _provider.reset(token)


@contextlib.contextmanager
def standing(place: str) -> Iterator[None]:
    """Operations inside the block stand below `place`."""
    token = _standing.set((place, Counter()))
    try:
        yield
    finally:
        _standing.reset(token)


def next_place(name: str) -> str:
    """The place of the next operation called `name` where we stand.

    >>> with standing("layers.3"):
    ...     next_place("add"), next_place("multiply"), next_place("add")
    ('layers.3.add', 'layers.3.multiply', 'layers.3.add_2')
    """
    now = _standing.get()
    if now is None:
        return name
    place, counts = now
    counts[name] += 1
    number = counts[name]
    return f"{place}.{name}" + (f"_{number}" if number > 1 else "")
