"""AMD's steps told, and the fused multiply-adds of FP64 and FP32 units, NVIDIA's too."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

from fpemu import exact
from fpemu.explaining.matrix_steps.nvidia import accumulator, products_of
from fpemu.explaining.matrix_steps.operands import Operands
from fpemu.explaining.matrix_steps.sums import (
    Addend,
    Rules,
    Sum,
    Told,
    floored,
    largest,
    placed,
)
from fpemu.formats import FP32, Format
from fpemu.reals import Real, is_finite, size_of

_SUBNORMALS = "subnormals become zeros"


def fma(given: Operands, off: Rules) -> Told:
    """One fused multiply-add per product."""
    made, c = given.unit, given.c
    f, sums = made.output, []
    for k, (x, y) in enumerate(given.pairs):
        last = k == len(given.pairs) - 1
        value: Any = exact.exact_result("fma", x, y, c)[0]
        result = value if "between" in off and not last else exact.round_to(value, f)
        addends = (products_of(given, range(k, k + 1))[0], accumulator(c, f))
        if k < given.count:
            way = f"to nearest even to {f.name}"
            sums.append(Sum(f"FMA {k}", addends, "exactly", way, f, result))
        c = result
        if not is_finite(c) and not last:
            return Told(tuple(sums), given.reference())
    return Told(tuple(sums), c)


def once(given: Operands, off: Rules) -> Told:
    """CDNA1: the exact sum of everything, rounded once."""
    f = given.unit.output
    addends = (*products_of(given), accumulator(given.c, f))
    exactly = sum((p.value for p in addends), Fraction(0))
    result = exact.round_to(exactly or 0.0, f)
    way = f"once, to nearest even to {f.name}"
    return Told(
        (Sum("products and c", addends, "exactly: nothing is cut off", way, f, result),), result
    )


def flushed(given: Operands, off: Rules) -> Told:
    """CDNA2: subnormal operands are zeros; products, sums of pairs and the sum with c are rounded each,
    and what becomes subnormal is a zero."""
    made, flush = given.unit, "flush" not in off

    def read(x: Real, f: Format) -> Real:
        return 0.0 if flush and size_of(x) < f.smallest_normal else x

    def kept(x: Any, end: bool = False) -> Any:
        result = x if "between" in off and not end else exact.round_to(x, FP32)
        tiny = is_finite(result) and size_of(result) < FP32.smallest_normal
        return math.copysign(0.0, result) if flush and tiny else result

    sums: list[Sum] = []
    way = f"to nearest even to fp32, then {_SUBNORMALS}"
    values: list[Any] = []
    names = []
    for k, (x, y) in enumerate(given.pairs):
        exactly: Any = exact.exact_result("multiply", read(x, made.a), read(y, made.b))[0]
        product = kept(exactly)
        whole = products_of(given, range(k, k + 1))[0]
        if is_finite(product) and Fraction(product) != whole.value:
            zero = exactly == 0 and whole.value
            seen = "alone" if not zero else "alone; a subnormal operand is read as zero"
            sums.append(Sum(f"product {k}", (whole,), seen, way, FP32, product))
        values.append(product)
        names.append(f"p{k}")

    def add(x: Any, y: Any, labels: tuple[str, str], name: str = "") -> Any:
        end = not name
        total = kept(exact.exact_result("add", x, y)[0], end)
        if is_finite(x) and is_finite(y):
            parts = [
                accumulator(v, FP32, name) if name == "c" else Addend(name, Fraction(v))
                for v, name in zip((x, y), labels, strict=True)
            ]
            head = f"{name} = " * (not end) + " + ".join(labels)
            sums.append(Sum(head, tuple(parts), "exactly", way, FP32, total))
        return total

    while len(values) > 1:
        pairs = list(zip(names[::2], names[1::2], strict=True))
        names = [f"s{i}" for i in range(len(pairs))] if len(pairs) > 1 else ["s"]
        both = zip(values[::2], values[1::2], pairs, names, strict=True)
        values = [add(*some) for some in both]
    total = add(values[0], read(given.c, FP32), (names[0], "c"))
    return Told(tuple(sums), total)


def two_grids(given: Operands, off: Rules) -> Told:
    """CDNA3: the products are cut off on a grid of their own; their sum and c meet on another one."""
    products = own_grid("products", products_of(given), given.unit, off)
    return _with_accumulator([products], products, given, off, drop=False)


def two_grids_even_odd(given: Operands, off: Rules) -> Told:
    """CDNA3's FP8: products of even and of odd index are summed apart, on grids of their own."""
    made, products = given.unit, products_of(given)
    even = own_grid("even products", products[::2], made, off)
    odd = own_grid("odd products", products[1::2], made, off)
    tops = [half.exponent for half in (even, odd) if half.exponent is not None]
    if not tops:
        return _with_accumulator([even, odd], even, given, off, drop=True)
    top = max(tops)
    halves = [Addend("even", even.total), Addend("odd", odd.total)]
    kept = placed(halves, top - made.bits, off, "down")
    both = _unrounded(
        "even and odd",
        kept,
        top,
        f"to exponent {top}, the larger; rounded down to multiples of 2**{top - made.bits}",
        top - made.bits,
    )
    return _with_accumulator([even, odd, both], both, given, off, drop=True)


def own_grid(name: str, products: list[Addend], made: Any, off: Rules) -> Sum:
    """The products truncated `bits` below their largest exponent, and their sum."""
    top = largest(products)
    if top is None:
        return _unrounded(name, products, None, "all are zeros", None)
    unit = top - made.bits
    way = f"to exponent {top}, the largest of theirs; a unit is 2**{unit}, {made.bits} bits below"
    return _unrounded(name, placed(products, unit, off), top, way, unit)


def _unrounded(name: str, addends: list[Addend], top: int | None, way: str, unit: int | None):
    total: Any = sum((p.kept for p in addends), Fraction(0))
    return Sum(name, tuple(addends), way, "not yet", FP32, total, top, unit)


def _with_accumulator(
    before: list[Sum], t: Sum, given: Operands, off: Rules, *, drop: bool
) -> Told:
    """The products' sum and c on the second grid, rounded down there, then to nearest."""
    made, f = given.unit, given.unit.output
    own = accumulator(given.c, FP32)
    exponent = FP32.emin if own.exponent is None else own.exponent
    top = exponent if t.exponent is None else max(t.exponent, exponent)
    (total,) = placed([Addend("t", t.total, t.exponent)], top - made.bits - 8, off, "down")
    (c,) = placed([own], top - made.bits, off, "down")
    c = replace(
        c, left_out=drop and exponent < top - made.bits - 1 and c.value != 0 and "drop" not in off
    )
    exactly = total.kept + c.kept
    dropped = None
    if exactly and "down" not in off:
        dropped = max(exact.floor_log2(abs(exactly)), FP32.emin) - 31
    end = exactly if dropped is None else floored(exactly, dropped)
    result = exact.round_to(end, f)
    way = (
        f"to exponent {top}, the larger; t is rounded down to multiples of 2**{top - made.bits - 8}, "
        f"c to those of 2**{top - made.bits}"
    )
    if c.left_out:
        way += ", and left out, being too small"
    rounded = f"down to 32 bits, then to nearest even to {f.name}"
    last = Sum("t and c", (total, c), way, rounded, f, result, top, top - made.bits, dropped)
    return Told((*before, last), result)
