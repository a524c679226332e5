"""`Accumulator`: everything that decides the bits of a long sum, as one immutable value.

The terms t[0], t[1], ... t[K-1] of a sum are its elements, those of a dot product the products. A is
the accumulator's format, "+" an addition rounded to A:

==============  ===================================================================================
order           what happens
==============  ===================================================================================
sequential      s = start; s = s + t[k] for k = 0, 1, 2, ...
permuted:SEED   the same, the terms in an order drawn from SEED
pairwise:N      halves are summed and added, and halves of halves, down to N terms or fewer, which
                are summed sequentially (N = 128 if not said, as in NumPy)
blocked:N       N consecutive terms at a time are summed sequentially, then the sums (Wang et al.
                2018, "chunk-based accumulation")
split:S         the same for S shares of nearly equal length (split-K)
fabsum:N        as blocked, the sums of blocks added by Kahan's method (Blanchard, Higham and Mary
                2020)
tree:R          R shares (ranks), their sums added in pairs, pairs of pairs and so on
ring:R          R shares, their sums added in a ring: the result's elements are dealt to the ranks
                in R shares, too, and those of rank r begin with the sum of rank r + 1
kahan           with a running correction (Kahan 1965)
neumaier        with a correction added at the end (Neumaier 1974)
exact           the exact sum of the exact products, rounded once
==============  ===================================================================================

Shares are those of `numpy.array_split`. Partial sums begin at +0; `start` (by default +0) begins the
sum, and in pairwise, tree and ring it is added last, if there is one.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass
from typing import Any

from fpemu import rounding as vocabulary
from fpemu.chance import Chance
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import Format, as_format

# Name: whether a number belongs to it ("may", "must"), and its default.
ORDERS: dict[str, int | None] = {
    "sequential": None,
    "permuted": 0,
    "pairwise": 128,
    "blocked": -1,
    "split": -1,
    "fabsum": -1,
    "tree": -1,
    "ring": -1,
    "kahan": None,
    "neumaier": None,
    "exact": None,
}
_COMPENSATED = ("kahan", "neumaier", "fabsum")


@dataclass(frozen=True)
class Accumulator:
    """How a sum is accumulated; prints as the text that `parse` reads.

    Parameters
    ----------
    format : of the accumulator.
    order : see the module's table, for example "blocked:64".
    product : how products become terms: None, rounded to the accumulator's format; "exact", not at
        all (a fused multiply-add, one rounding per step); or rounded to another `Format`.
    promote : ``(format, n)``: after every n terms the accumulator is added to a second one of this
        format and starts again at +0 (order "sequential" only).
    round_every : ``(format, n)``: after every n terms the accumulator is rounded to this format and
        goes on with that.
    correction : format of the corrections of Kahan's and Neumaier's method, by default the
        accumulator's.
    out : format of the result, one final rounding; by default that of the operands.
    rounding, saturation, subnormals, seed, random_bits : as `fpemu.quantize`; by default those of the
        `arithmetic` in force. With "stochastic" the n-th rounding of a sum draws from a seed derived
        from `seed` and n, and element i of the result from that and i.

    Raises `ArgumentError` for what is unknown or does not go together.

    >>> model = Accumulator.parse("fp32 blocked:64 product=fp16")
    >>> model.format, model.order, model.product
    (fp.FP32, 'blocked:64', fp.FP16)
    >>> str(Accumulator("fp16", promote=("fp32", 128)))
    'fp16 sequential promote=fp32@128'
    """

    format: Any
    order: str = "sequential"
    product: Any = None
    promote: Any = None
    round_every: Any = None
    correction: Any = None
    out: Any = None
    rounding: str | None = None
    saturation: str | None = None
    subnormals: str | None = None
    seed: int | None = None
    random_bits: int | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "format", as_format(self.format))
        kind, number = parse_order(self.order)
        default = ORDERS[kind]
        put(
            self,
            "order",
            kind if number in (None, default) and default != -1 else f"{kind}:{number}",
        )
        if self.product not in (None, "exact"):
            product = as_format(self.product)
            # Rounded to the accumulator's format is the usual thing, but not in an exact sum.
            usual = product == self.format and kind != "exact"
            put(self, "product", None if usual else product)
        for name in ("correction", "out"):
            if getattr(self, name) is not None:
                put(self, name, as_format(getattr(self, name)))
        for name in ("promote", "round_every"):
            put(self, name, _format_and_count(name, getattr(self, name)))
        if self.promote and kind != "sequential":
            raise ArgumentError(f"promote goes with order 'sequential', not with {self.order!r}")
        if self.round_every and kind in ("kahan", "neumaier", "exact"):
            raise ArgumentError(f"round_every does not go with order {self.order!r}")
        if self.correction and kind not in _COMPENSATED:
            raise ArgumentError(
                f"correction goes with order {', '.join(_COMPENSATED)}, not with {self.order!r}"
            )
        if self.product == "exact" and kind in ("kahan", "neumaier"):
            raise ArgumentError(
                f"product='exact' does not go with order {self.order!r}, whose steps take rounded "
                "terms; use a format that holds the products"
            )
        vocabulary.check(
            rounding=self.rounding or "nearest_even",
            saturation=self.saturation or "none",
            subnormals=self.subnormals or "gradual",
        )
        seed, bits = self.seed, self.random_bits
        Chance(0 if seed is None else seed, 24 if bits is None else bits)

    @property
    def kind(self) -> str:
        """The order's name without its number."""
        return self.order.partition(":")[0]

    @property
    def number(self) -> int:
        """The order's number: its own or the default (0 where it has none)."""
        _, number = parse_order(self.order)
        return number or ORDERS[self.kind] or 0

    @property
    def result_format(self) -> Format:
        """The format in which the sum ends, before the final rounding."""
        return self.promote[0] if self.promote else self.format

    def filled(self, **settings: Any) -> Accumulator:
        """The model with what it leaves open taken from `settings`."""
        left = {name: v for name, v in settings.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **left) if left else self

    def __str__(self) -> str:
        words = [self.format.name, self.order]
        for field in dataclasses.fields(self)[2:]:
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                value = f"{value[0].name}@{value[1]}"
            if value is not None:
                words.append(f"{field.name}={value}")
        return " ".join(words)

    @classmethod
    def parse(cls, text: str) -> Accumulator:
        """The model that `text` describes: a format, an order, then options as ``name=value``.

        >>> Accumulator.parse("bf16 kahan correction=fp32") == Accumulator(
        ...     "bf16", "kahan", correction="fp32")
        True
        """
        words = text.split() if isinstance(text, str) else []
        if not words:
            raise ArgumentError(
                f"an accumulation model is written as 'fp16 sequential product=fp32', got {text!r}"
            )
        options: dict[str, Any] = {}
        allowed = [field.name for field in dataclasses.fields(cls)[2:]]
        for word in words[1:]:
            name, equals, value = word.partition("=")
            if not equals and "order" not in options:
                options["order"] = word
            elif name not in allowed or not equals:
                raise unknown("option of an accumulation model", name, allowed)
            elif name in ("promote", "round_every"):
                options[name] = tuple(value.split("@"))
            else:
                options[name] = _whole(name, value) if name in ("seed", "random_bits") else value
        return cls(words[0], **options)


def parse_order(order: object) -> tuple[str, int | None]:
    """The name of an order and its number, or None without one."""
    return _parsed(order) if isinstance(order, str) else _parse(order)


def _parse(order: object) -> tuple[str, int | None]:
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", order) if isinstance(order, str) else None
    if match is None or match[1] not in ORDERS:
        raise unknown("order", order, [n if d != -1 else f"{n}:N" for n, d in ORDERS.items()])
    name, number = match[1], None if match[2] is None else int(match[2])
    default = ORDERS[name]
    if default is None and number is not None:
        raise ArgumentError(f"order {name!r} takes no number, got {order!r}")
    if default == -1 and number is None:
        raise ArgumentError(f"order {name!r} needs a number, for example '{name}:64'")
    if number == 0 and name != "permuted":
        raise ArgumentError(f"the number of order {name!r} must be at least 1, got {order!r}")
    return name, number


_parsed = functools.lru_cache(maxsize=256)(_parse)


def _whole(name: str, said: str) -> int:
    if not said.isdecimal():
        raise ArgumentError(f"{name} of an accumulation model must be an integer, got {said!r}")
    return int(said)


def _format_and_count(name: str, value: Any) -> tuple[Format, int] | None:
    if value is None:
        return None
    try:
        f, count = value
        f, count = as_format(f), int(count)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{name} must be a format and a number of terms, as ('fp32', 128) or 'fp32@128' in text; "
            f"got {value!r}"
        ) from None
    if count < 1:
        raise ArgumentError(f"{name} must count at least 1 term, got {count}")
    return f, count
