"""Where other libraries round differently: the input, what they give, what is right.

Each row asks the library that is installed here, so that a later version that has been mended shows
as agreeing. Right is what `exact` says; the comments give the cause.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from fpemu import elementwise, exact
from fpemu.convert import quantize
from fpemu.formats import BF16, E2M3, E4M3, E4M3_IEEE, E5M2, E8M0, FP16, Format, p3109
from fpemu.inputs import numbers_of
from fpemu.reals import written


@dataclass(frozen=True)
class Question:
    """An operation on one input that a library answers in its own way."""

    library: str
    op: str  # "convert", or an operation of `exact`
    f: Format
    x: float | int
    ask: Callable[[float | int], object]
    how: str = "to nearest even"
    rounding: str = "nearest_even"


@dataclass(frozen=True)
class Answer:
    """What came out; `right` is the exact reference's, `ours` that of the kernels."""

    library: str
    question: str
    x: str
    theirs: float
    right: float
    ours: float

    @property
    def differs(self) -> bool:
        """Whether the library's answer is wrong (NaN is right where NaN is due)."""
        return differ(self.theirs, self.right)


def differ(a: float, b: float) -> bool:
    """Whether two numbers are not the same, zeros with their sign and NaN included."""
    same = (a == b and np.signbit(a) == np.signbit(b)) or (a != a and b != b)
    return not same


def answers() -> Iterator[Answer]:
    """The answers of all libraries installed here."""
    for q in _questions():
        if not importlib.util.find_spec(q.library):
            continue
        with np.errstate(all="ignore"):
            theirs = float(q.ask(q.x))  # type: ignore[arg-type]
        if q.op == "convert":
            right = float(exact.round_to(q.x, q.f, rounding=q.rounding))
            ours = float(quantize(q.x, q.f, rounding=q.rounding))
        else:
            right = float(exact.compute(q.op, q.x, f=q.f, rounding=q.rounding))
            operand = np.asarray(numbers_of(q.x)[0], np.float64).reshape(1)
            ours = float(elementwise.apply(q.op, operand, f=q.f, rounding=q.rounding)[0])
        asked = f"to {q.f.name}" if q.op == "convert" else f"{q.op} in {q.f.name}"
        name = f"{q.library} {metadata.version(q.library)}"
        yield Answer(name, f"{asked}, {q.how}", written(q.x), theirs, right, ours)


def _questions() -> Iterator[Question]:
    # From float64 by way of float32: rounded twice.
    for f, name, x in (
        (BF16, "bfloat16", 1 + 2.0**-8 + 2.0**-40),
        (E4M3, "float8_e4m3fn", -431.99999999999994),
        (E5M2, "float8_e5m2", 61439.99999999999),
        (E2M3, "float6_e2m3fn", 6.749999999999999),
    ):
        yield Question("ml_dtypes", "convert", f, x, _ml_dtypes(name), "from float64")
    yield Question(
        "ml_dtypes", "convert", BF16, 16973823, _ml_dtypes("bfloat16"), "from a 64-bit integer"
    )
    # Ties always go up, where P3109 wants the even code.
    yield Question("ml_dtypes", "convert", E8M0, 3.0, _ml_dtypes("float8_e8m0fnu"), "a tie")
    for f, name, x in (
        (FP16, "float16", 65519.99999999999),
        (BF16, "bfloat16", 1 + 2.0**-8 + 2.0**-40),
        (E4M3, "float8_e4m3fn", 431.99999999999994),
    ):
        yield Question("torch", "convert", f, x, _torch(name), "from float64")
    # Saturates without being asked to.
    yield Question("torch", "convert", E4M3, 1e30, _torch("float8_e4m3fn"), "overflow")
    # float16 functions are computed in float32 and rounded again.
    for op, x in _ROUNDED_TWICE.items():
        yield Question("numpy", op, FP16, x, _numpy_half(op))
    for op, x in {**_ROUNDED_TWICE, "sigmoid": 0.0029296875, "erf": 2.0**-24}.items():
        yield Question("torch", op, FP16, x, _torch_half(op))
    # Numbers below the smallest are left as they are, and so are negative ones without a sign; an
    # overflow without infinity becomes NaN.
    yield Question("gfloat", "convert", E8M0, 2.0**-130, _gfloat("ocp_e8m0"), "underflow")
    finite, unsigned = p3109(8, 4, extended=False), p3109(8, 4, signed=False)
    yield Question("gfloat", "convert", finite, 1e9, _gfloat_p3109(finite), "overflow")
    yield Question("gfloat", "convert", unsigned, -1.0, _gfloat_p3109(unsigned), "below zero")
    # Overflow is looked for before rounding, exponents come from log2, and zero loses its sign.
    for x in (65520.0, 70000.0, -0.0):
        yield Question("pychop", "convert", FP16, x, _pychop(1))
    before = 32767.999999999996
    yield Question("pychop", "convert", FP16, before, _pychop(4), "toward zero", "toward_zero")
    yield Question("pychop", "convert", FP16, 1.0, _pychop(9), "to odd", "to_odd")
    # Between the largest subnormal and the smallest normal number `cast` gives zero.
    yield Question("apytypes", "convert", E4M3_IEEE, 0.0146484375, _apytypes, "from fp16 by cast")


_ROUNDED_TWICE = {
    "exp": 0.0226898193359375,
    "exp2": 0.0007042884826660156,
    "expm1": 0.000690460205078125,
    "log": 0.005340576171875,
    "log1p": 0.005870819091796875,
    "sin": 0.2093505859375,
    "cos": 0.0584716796875,
}


def _ml_dtypes(name: str):
    def ask(x):
        import ml_dtypes

        return np.array([x]).astype(getattr(ml_dtypes, name))[0]

    return ask


def _torch(name: str):
    def ask(x):
        import torch

        return torch.tensor([x], dtype=torch.float64).to(getattr(torch, name)).double()[0]

    return ask


def _torch_half(op: str):
    def ask(x):
        import torch

        return getattr(torch, op)(torch.tensor([x], dtype=torch.float16))[0]

    return ask


def _numpy_half(op: str):
    return lambda x: getattr(np, op)(np.array([x], np.float16))[0]


def _gfloat(name: str):
    def ask(x):
        import gfloat
        from gfloat import formats

        return gfloat.round_float(getattr(formats, f"format_info_{name}"), x)

    return ask


def _gfloat_p3109(f: Format):
    def ask(x):
        import gfloat
        from gfloat.formats import format_info_p3109

        signedness = gfloat.Signedness.Signed if f.signed else gfloat.Signedness.Unsigned
        domain = gfloat.Domain.Extended if f.has_inf else gfloat.Domain.Finite
        return gfloat.round_float(format_info_p3109(f.bits, f.precision, signedness, domain), x)

    return ask


def _pychop(mode: int):
    def ask(x):
        import pychop

        return pychop.Chop(5, 10, rmode=mode)(np.array([x]))[0]

    return ask


def _apytypes(x):
    from apytypes import APyFloatArray

    return APyFloatArray.from_float([x], 5, 10).cast(4, 3).to_numpy()[0]
