"""Operations on Arrays, each rounded once, under the `arithmetic` in force or settings of their own."""

from __future__ import annotations

import numpy as np

from fpemu import context, elementwise
from fpemu.arrays.definition import Array, asarray, formats_among
from fpemu.convert import quantize
from fpemu.errors import ArgumentError
from fpemu.formats import Format


def compute(op: str, *operands: object, **options) -> Array:
    """`op` on Arrays of one format (numbers and lists are first rounded to it), rounded once.

    `op` is one of `elementwise.ARITHMETIC` or `elementwise.TRANSCENDENTAL`; `options` are those of
    `quantize`, by default the `arithmetic` in force.
    """
    elementwise.check_op(op, len(operands))
    f, settings, values = _prepared(op, operands, options)
    chance = settings.chance if options.get("seed") is not None else settings.next_chance()
    rounded = elementwise.apply(
        op,
        *values,
        f=f,
        rounding=settings.rounding,
        saturation=settings.saturation,
        subnormals=settings.subnormals,
        chance=chance,
    )
    return Array(rounded, f)


def flags_of(op: str, *operands: object, tininess: str | None = None, **options) -> np.ndarray:
    """The IEEE exceptions that `op` signals for each element.

    Parameters
    ----------
    op : "add", "subtract", "multiply", "divide", "sqrt", "fma", "remainder", "round_to_integer",
        "exp", ...
    operands : Arrays of one format, or numbers and lists, which are first rounded to it.
    tininess : "after" rounding with an unbounded exponent (x86, RISC-V), the default, or "before"
        (Arm): when a result below the smallest normal counts as tiny. Underflow is signalled for
        tiny results that are inexact.
    options : `rounding`, `saturation`, `subnormals`, `seed`, ... as `quantize`.

    Returns uint8 of the broadcast shape, bits as in `Flag`. Overflow that saturates is still
    overflow. Round to integer signals inexact where it changes something. NaN operands signal
    nothing (all NaNs are quiet), but infinity times zero in fma is invalid even if NaN is added.

    Source: IEEE 754-2019 section 7.

    >>> from fpemu import array
    >>> x = array([1.0, 60000.0, 0.0], "fp16")
    >>> flags_of("divide", x, array([3.0, 0.5, 0.0], "fp16")).tolist()
    [1, 5, 16]
    """
    elementwise.check_op(op, len(operands))
    f, settings, values = _prepared(op, operands, {**options, "tininess": tininess})
    return elementwise.flags_of(
        op,
        *values,
        f=f,
        tininess=settings.tininess,
        rounding=settings.rounding,
        saturation=settings.saturation,
        subnormals=settings.subnormals,
        chance=settings.chance,
    )


def _prepared(op: str, operands, options):
    settings = context.current().with_options(**options)
    f = format_among(op, operands)
    values = [in_format(x, f, op) for x in operands]
    check_broadcast(op, values)
    return f, settings, values


def fma(a: object, b: object, c: object, **options) -> Array:
    """a * b + c with one rounding, element by element, broadcasting.

    `a`, `b` and `c` are Arrays of one format, or numbers and lists, which are first rounded to it;
    at least one says the format. `options` as `quantize`. NaN where an operand is NaN or infinity
    meets zero or its opposite. Raises `ArgumentError` for mixed formats and shapes that do not
    broadcast. Source: fusedMultiplyAdd of IEEE 754-2019 section 5.4.1.

    >>> from fpemu import array
    >>> x = array(4097.0, "fp32")
    >>> fma(x, x, 2.0**-30), x * x + 2.0**-30  # 4097**2 is a tie in FP32; 2**-30 breaks it
    (fp.array(16785410.0, fp.FP32), fp.array(16785408.0, fp.FP32))
    """
    return compute("fma", a, b, c, **options)


def remainder(x: object, y: object, **options) -> Array:
    """x - n*y with n the integer nearest to x/y, the even one of two: always exact.

    Unlike `numpy.remainder` (and ``%``), whose n is rounded down. A zero has the sign of `x`;
    x = infinity or y = 0 gives NaN. Source: remainder of IEEE 754-2019 section 5.3.1.

    >>> from fpemu import array
    >>> x = array([5.0, 6.0, -1.0], "fp16")
    >>> remainder(x, 4.0), x % 4.0
    (fp.array([1.0, -2.0, -1.0], fp.FP16), fp.array([1.0, 2.0, 3.0], fp.FP16))
    """
    return compute("remainder", x, y, **options)


def round_to_integer(x: object, **options) -> Array:
    """Each element rounded to an integer in the given `rounding`; `numpy.rint` for any mode.

    Zeros keep their sign, and a negative fraction rounds to -0. Infinities and NaN stay. Source:
    roundToIntegralExact of IEEE 754-2019 section 5.3.1.

    >>> from fpemu import array
    >>> x = array([0.5, 1.5, -2.5], "bf16")
    >>> round_to_integer(x), round_to_integer(x, rounding="nearest_away")
    (fp.array([0.0, 2.0, -2.0], fp.BF16), fp.array([1.0, 2.0, -3.0], fp.BF16))
    """
    return compute("round_to_integer", x, **options)


def rsqrt(x: object, **options) -> Array:
    """1 / sqrt(x), rounded once; infinity of its sign for a zero, NaN for negative numbers.

    Source: rSqrt of IEEE 754-2019 section 9.2.

    >>> from fpemu import array
    >>> rsqrt(array([4.0, 2.0], "bf16"))
    fp.array([0.5, 0.70703125], fp.BF16)
    """
    return compute("rsqrt", x, **options)


def sigmoid(x: object, **options) -> Array:
    """1 / (1 + exp(-x)), rounded once: from 0 at minus infinity to 1; never a product of roundings.

    >>> from fpemu import array
    >>> sigmoid(array([0.0, -10.0], "fp16"))
    fp.array([0.5, 4.5418739318847656e-05], fp.FP16)
    """
    return compute("sigmoid", x, **options)


def erf(x: object, **options) -> Array:
    """The error function, rounded once: -1 and 1 at the infinities, odd, so that -0 stays -0.

    >>> from fpemu import array
    >>> erf(array([0.5, 3.0], "bf16"))
    fp.array([0.51953125, 1.0], fp.BF16)
    """
    return compute("erf", x, **options)


def format_among(op: str, operands) -> Format:
    """The format of the first Array (or NumPy array) among the operands."""
    arrays = [x for x in operands if isinstance(x, (Array, np.ndarray, np.generic))]
    if not arrays:
        raise ArgumentError(
            f"{op} needs an Array among its operands; make one with fp.array(x, format)"
        )
    own = next((x.format for x in arrays if isinstance(x, Array)), None)
    return own or asarray(arrays[0]).format


def in_format(v: object, f: Format, op: str) -> np.ndarray:
    """An operand's values in the format `f`; numbers and lists are rounded to it."""
    if isinstance(v, (Array, np.ndarray, np.generic)):
        v = asarray(v)
        if v.format != f:
            raise ArgumentError(
                f"{op} of {f.name} and {v.format.name}: arrays of different formats do not mix; "
                f"cast one, for example .astype({f.name!r})"
            )
        return v._values
    others = formats_among(v) - {f}
    if others:
        raise ArgumentError(
            f"{op} of {f.name} and {others.pop().name}: arrays of different formats do not mix; "
            f"cast one, for example .astype({f.name!r})"
        )
    return quantize(v, f)


def check_broadcast(op: str, operands: list[np.ndarray]) -> None:
    """Raise `ArgumentError` unless the shapes broadcast."""
    try:
        np.broadcast_shapes(*(v.shape for v in operands))
    except ValueError:
        shapes = " and ".join(str(v.shape) for v in operands)
        raise ArgumentError(f"{op} of shapes {shapes}: they do not broadcast") from None
