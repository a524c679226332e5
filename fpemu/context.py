"""Settings that scope: ``with fp.arithmetic(rounding="toward_zero"): ...``.

An `Arithmetic` is immutable data; the block's own object, which collects flags, is the
`arithmetic`. Settings live in a context variable: threads and tasks have their own.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from fpemu import exact
from fpemu import rounding as vocabulary
from fpemu.chance import Chance
from fpemu.errors import TrapError, unknown


@dataclass(frozen=True)
class Arithmetic:
    """How operations round: the three settings, and where random bits come from.

    >>> Arithmetic(rounding="to_odd")
    Arithmetic(rounding='to_odd', saturation='none', subnormals='gradual', seed=0, random_bits=24, \
random_variant='A', tininess='after')
    """

    rounding: str = "nearest_even"
    saturation: str = "none"
    subnormals: str = "gradual"
    seed: int = 0
    random_bits: int = 24
    random_variant: str = "A"
    tininess: str = "after"

    def __post_init__(self) -> None:
        vocabulary.check(
            rounding=self.rounding, saturation=self.saturation, subnormals=self.subnormals
        )
        if self.tininess not in exact.TININESS:
            raise unknown("tininess", self.tininess, exact.TININESS)
        _ = self.chance  # checks the others

    @property
    def chance(self) -> Chance:
        """The random bits of an operation that names its seed."""
        return Chance(self.seed, self.random_bits, self.random_variant)

    def next_chance(self) -> Chance:
        """The random bits of the next operation in the block: each draws its own."""
        block = _block.get()
        return self.chance if block is None else self.chance.derived(block._next_operation())

    def with_options(self, **options: Any) -> Arithmetic:
        """The same with those `options` that are not None."""
        given = {name: value for name, value in options.items() if value is not None}
        return replace(self, **given) if given else self


_DEFAULT = Arithmetic()
_block: contextvars.ContextVar[arithmetic | None] = contextvars.ContextVar(
    "fpemu_arithmetic", default=None
)


def current() -> Arithmetic:
    """The arithmetic in force; outside of any block nearest-even with everything else default."""
    block = _block.get()
    return _DEFAULT if block is None else block.settings


class arithmetic:
    """Settings for the operations on Arrays, `quantize` and `encode` inside a ``with`` block.

    Parameters
    ----------
    rounding, saturation, subnormals : see `fpemu.rounding`; what is not given stays as it is
        around the block.
    seed, random_bits, random_variant : for "stochastic", see `quantize`. The n-th operation in the
        block takes a seed derived from `seed` and n, so that operations are independent and the
        block always gives the same bits.
    tininess : "after" or "before" rounding: when a result counts as tiny for the underflow flag.
    traps : flags that raise `TrapError` when an operation signals them. As in Python's `decimal`
        the flag is set first, and the result is lost.

    Inside, the object's `flags` is the set of the IEEE exceptions so far: of "inexact",
    "underflow", "overflow", "divide_by_zero" and "invalid". Flags and traps belong to the
    innermost block.

    Raises `ArgumentError` for values that are not in the vocabulary.

    >>> import fpemu as fp
    >>> x = fp.array([1.0], "fp16")
    >>> with fp.arithmetic(rounding="toward_positive") as ctx:
    ...     y = x + 2.0**-24
    >>> y, sorted(ctx.flags)
    (fp.array([1.0009765625], fp.FP16), ['inexact'])
    """

    def __init__(
        self,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
        subnormals: str | None = None,
        seed: int | None = None,
        random_bits: int | None = None,
        random_variant: str | None = None,
        tininess: str | None = None,
        traps: Iterable[str] = (),
    ) -> None:
        self._options = {
            "rounding": rounding,
            "saturation": saturation,
            "subnormals": subnormals,
            "seed": seed,
            "random_bits": random_bits,
            "random_variant": random_variant,
            "tininess": tininess,
        }
        self.settings = current().with_options(**self._options)
        self.traps = frozenset([traps] if isinstance(traps, str) else traps)
        for name in self.traps:
            if name not in exact.FLAGS:
                raise unknown("trap", name, exact.FLAGS)
        self.flags: set[str] = set()
        self._operations = 0
        self._tokens: list[contextvars.Token] = []

    def __enter__(self) -> arithmetic:
        self.settings = current().with_options(**self._options)
        self._operations = 0
        self._tokens.append(_block.set(self))
        return self

    def __exit__(self, *exception: object) -> None:
        _block.reset(self._tokens.pop())

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self._options.items() if value is not None]
        if self.traps:
            given.append(f"traps={sorted(self.traps)!r}")
        return f"fp.arithmetic({', '.join(given)})"

    def _next_operation(self) -> int:
        self._operations += 1
        return self._operations - 1


def wants_flags() -> bool:
    """Whether a block is open that collects flags."""
    return _block.get() is not None


def raise_flags(names: set[str], op: str, place: str, example: Callable[[list[str]], str]) -> None:
    """Add `names` to the flags of the innermost block; `TrapError` if it traps one of them.

    `example` describes the first element that signalled one of those trapped.
    """
    block = _block.get()
    if block is None:
        return
    block.flags |= names
    trapped = sorted(names & block.traps)
    if trapped:
        at = f" at {place}" if place else ""
        raise TrapError(
            f"{op}{at} signalled {', '.join(trapped)}, which this arithmetic block traps: "
            f"{example(trapped)}; change the operands, or remove it from "
            f"traps={sorted(block.traps)}"
        )
