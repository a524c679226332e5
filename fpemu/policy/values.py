"""The values of a policy's fields: from text and from objects, and as text again."""

from __future__ import annotations

import math
from typing import Any

from fpemu import matrix_units, scaling
from fpemu import rounding as vocabulary
from fpemu.accumulation import Accumulator
from fpemu.chance import Chance
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import FP32, Format, as_format
from fpemu.matrix_units import MatrixUnit
from fpemu.policy.lists import RULES as LISTS

Sums = Format | Accumulator | MatrixUnit

OPTIONAL = ("master", "outputs", "gradient_sum", "momentum", "variance", "update_in")
FORMATS = ("weights", "activations", "gradients", *OPTIONAL, "loss")
SUMS = ("accumulate", "inner")
UPDATES = ("plain", "kahan", "stochastic", "remainder")
WORDS: dict[str, Any] = {
    "rounding": vocabulary.ROUNDING,
    "saturation": vocabulary.SATURATION,
    "subnormals": vocabulary.SUBNORMALS,
    "scaling": scaling.RULES,
    "update": UPDATES,
}


def value_of(name: str, value: Any) -> Any:
    """The value of the field `name`, from its text or from an object; `ArgumentError` if it is none.

    >>> value_of("weights", "fp16"), value_of("low", "linear+matmul"), value_of("loss_scale", "2^10")
    (fp.FP16, ('linear', 'matmul'), 1024.0)
    """
    if isinstance(value, str) and len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
        value = value[1:-1]
    nothing = value is None or (isinstance(value, str) and value.lower() == "none")
    if nothing and (name in OPTIONAL or name == "inner"):
        return None
    if name in FORMATS or name == "format":
        return as_format(value)
    if name in SUMS:
        return as_sums(name, value)
    if name in LISTS:
        return _names(name, value)
    if name == "loss_scale":
        return _scale(value)
    if name == "random_bits":
        return _random_bits(value)
    if not isinstance(value, str) or value not in WORDS[name]:
        raise unknown(name, value, WORDS[name])
    return value


def as_sums(name: str, value: Any) -> Sums:
    """A format, an accumulation model or a matrix unit, or the text of one; the plainest of these."""
    if isinstance(value, MatrixUnit):
        unit = value
    elif matrix_units.is_written(value):
        unit = MatrixUnit.parse(value)
    else:
        unit = None
    if unit is not None:
        if name == "inner":
            raise ArgumentError(
                f"inner={str(unit)!r}: a matrix unit adds products, and nothing else; name a format"
            )
        return unit
    if isinstance(value, str) and (" " in value or "=" in value):
        value = Accumulator.parse(value)
    if not isinstance(value, Accumulator):
        return as_format(value)
    if value.out is not None:
        raise ArgumentError(
            f"{name}={str(value)!r}: a policy says by other roles in which format results leave; drop out="
        )
    return value.format if value == Accumulator(value.format) else value


def ends_in(sums: Sums) -> Format:
    """The format in which such sums end."""
    if isinstance(sums, Format):
        return sums
    if isinstance(sums, MatrixUnit):
        return sums.accumulator or FP32
    return sums.result_format


def model_of(sums: Sums) -> Accumulator | MatrixUnit:
    """How such sums are accumulated: a format stands for sums in order."""
    return Accumulator(sums) if isinstance(sums, Format) else sums


def number(text: str) -> float:
    """A number as people write scales: ``1024``, ``0.5``, ``1e-3``, ``2^-20`` or ``2**15``.

    >>> number("2^-20") == 2.0**-20
    True
    """
    base, power, exponent = text.replace("**", "^").partition("^")
    try:
        return float(base) ** int(exponent) if power else float(base)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ArgumentError(
            f"{text!r} is not a number; write for example 1024, 0.5 or 2^-20"
        ) from None


def written(value: object) -> str:
    """A field's value as the text that `value_of` reads.

    >>> written(2.0**15), written(None), written(("linear", "matmul")), written(Accumulator("fp16", "kahan"))
    ('32768', 'none', 'linear+matmul', "'fp16 kahan'")
    """
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and value < 1e15 else repr(value)
    if isinstance(value, tuple):
        return "+".join(value)
    said = "none" if value is None else str(value)
    return f"'{said}'" if " " in said else said


def _names(name: str, value: Any) -> tuple[str, ...]:
    given = value.split("+") if isinstance(value, str) else list(value)
    wrong = [n for n in given if not isinstance(n, str)]
    if wrong:
        raise ArgumentError(f"{name} lists names of operations, got {wrong[0]!r}")
    return tuple(dict.fromkeys(n for n in given if n))


def _scale(value: Any) -> float:
    given = number(value) if isinstance(value, str) else value
    try:
        scale = float(given)
    except (TypeError, ValueError, OverflowError):
        scale = math.nan
    if not 0 < scale < math.inf:
        raise ArgumentError(f"loss_scale must be a positive finite number, got {given!r}")
    return scale


def _random_bits(value: Any) -> int:
    if isinstance(value, str):
        if not value.isdecimal():
            raise ArgumentError(f"random_bits must be an integer, got {value!r}")
        value = int(value)
    return Chance(0, value).random_bits
