"""Numbers shown: bits, exact decimals, neighbours, error. Uses only the exact reference."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Context, Decimal
from fractions import Fraction

from fpemu import exact, text
from fpemu.errors import ArgumentError
from fpemu.formats import BF16, E4M3, E5M2, FP16, FP32, NAMED, TF32, Format, as_format
from fpemu.reals import Number, Real, is_finite, is_infinite, is_nan, size_of, written

DEFAULT_FORMATS = (FP32, TF32, FP16, BF16, E4M3, E5M2)


class Shown(str):
    """Text that notebooks show in a fixed-width font."""

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(self)}</pre>"

    def __repr__(self) -> str:
        return str(self)


def parse_number(said: str) -> Number:
    """The exact value of a number as written: 0.1, 1e-7, 2^-25, 1/3, 0x1p-3, inf, nan.

    >>> parse_number("0.1")
    Fraction(1, 10)
    """
    clean = said.strip().lower().replace("_", "")
    try:
        if clean.lstrip("+-") in ("inf", "infinity", "nan"):
            return float(clean)
        if "0x" in clean:
            value = _hexadecimal(clean)
            return -0.0 if value == 0 and clean.startswith("-") else value
        base, power, exponent = clean.replace("**", "^").partition("^")
        if power and abs(int(exponent)) > 20000:
            raise ValueError(exponent)
        if "e" in clean and abs(int(clean.partition("e")[2])) > 20000:
            raise ValueError(clean)
        value = Fraction(base) ** int(exponent) if power else Fraction(clean)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ArgumentError(
            f"{said!r} is not a number; write for example 0.1, 1e-7, 2^-25, 1/3, 0x1p-3, inf or nan"
        ) from None
    return -0.0 if value == 0 and clean.startswith("-") else value


_HEXADECIMAL = re.compile(r"([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?\d{1,5}))?")


def _hexadecimal(clean: str) -> Fraction:
    """The exact value of C's hexadecimal notation; float.fromhex would round it."""
    match = _HEXADECIMAL.fullmatch(clean)
    if not match or not match[2] + match[3]:
        raise ValueError(clean)
    sign, whole, part, power = match.groups()
    exponent = int(power or 0)
    if abs(exponent) > 20000:
        raise ValueError(clean)
    magnitude = Fraction(int(whole + part, 16), 16 ** len(part)) * Fraction(2) ** exponent
    return -magnitude if sign == "-" else magnitude


def decimal(x: Real) -> str:
    """The exact decimal expansion of a float, in scientific form where it would be long.

    >>> decimal(0.0999755859375), decimal(2.0**-24)
    ('0.0999755859375', '5.9604644775390625E-8')
    """
    if isinstance(x, Fraction) or not math.isfinite(x):
        return written(x)
    if x == 0:
        return "-0" if math.copysign(1, x) < 0 else "0"
    digits = Decimal(x).normalize(Context(prec=1200))
    if -5 <= digits.adjusted() < 21:
        return f"{digits:f}"
    return str(digits)


def split_bits(code: int, f: Format) -> str:
    """Sign (if there is one), exponent and fraction fields of a code, separated by blanks.

    >>> from fpemu.formats import FP16
    >>> split_bits(0x2E66, FP16)
    '0 01011 1001100110'
    """
    whole = f"{code:0{f.bits}b}"
    sign, exponent = int(f.signed), int(f.signed) + f.exponent_bits
    fields = (whole[:sign], whole[sign:exponent], whole[exponent:])
    return " ".join(field for field in fields if field)


def describe(x: Number, f: Format) -> dict[str, object]:
    """`x` rounded once to `f`, nearest even: code, bits, exact value, error, neighbours."""
    if isinstance(x, float) and math.isnan(x) and not f.has_nan:
        fields = ("code", "bits", "value", "below", "above", "error_ulps")
        return {"format": f.name, "kind": "has no NaN", **dict.fromkeys(fields)}
    value = exact.round_to(x, f)
    code = exact.encode(value, f)
    row: dict[str, object] = {
        "format": f.name,
        "code": f"0x{code:0{-(-f.bits // 4)}x}",
        "bits": split_bits(code, f),
        "value": decimal(value),
        "kind": kind_of(value, f),
        "below": None,
        "above": None,
        "error_ulps": None,
    }
    if is_finite(value):
        below, above = neighbours(value, f)
        row["below"], row["above"] = decimal(below), decimal(above)
        if is_finite(x):
            exact_x = Fraction(x)
            e = max(exact.floor_log2(abs(Fraction(value))), f.emin) if value else f.emin
            ulp = Fraction(2) ** (e - f.fraction_bits)
            row["error_ulps"] = float((Fraction(value) - exact_x) / ulp)
    return row


def kind_of(value: Real, f: Format) -> str:
    """zero, subnormal, normal, infinite or nan."""
    if is_nan(value):
        return "nan"
    if is_infinite(value):
        return "infinite"
    if value == 0:
        return "zero"
    return "subnormal" if size_of(value) < f.smallest_normal else "normal"


def neighbours(value: Real, f: Format) -> tuple[Real, Real]:
    """The next smaller and the next larger value of `f` (infinite or the largest at the ends)."""
    step = Fraction(f.smallest_subnormal) / 4
    if value == f.min and not f.signed:
        below = value  # there is none
    else:
        below = exact.round_to(Fraction(value) - step, f, rounding="toward_negative")
    above = exact.round_to(Fraction(value) + step, f, rounding="toward_positive")
    return below, above


def show(x: object, formats: Iterable[object] | object | None = None) -> Shown:
    """How `x` is stored in each of `formats`: code, bits, exact decimal, error in ulps.

    `x` is a number (a string is read as the exact decimal that it says; a Python float as the
    float64 that it is), `formats` one format or several, by default the six common ones.

    >>> print(show("0.1", ["fp16", "e4m3"]))
    format  code    bits                kind    value            error (ulp)
    ------  ------  ------------------  ------  ---------------  -----------
    fp16    0x2e66  0 01011 1001100110  normal  0.0999755859375  -0.4
    e4m3    0x1d    0 0011 101          normal  0.1015625        +0.2
    """
    number = parse_number(x) if isinstance(x, str) else x
    if isinstance(number, Decimal) and number.is_finite():
        number = Fraction(number)
    if not isinstance(number, (int, float, Fraction)):
        try:
            number = float(number)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ArgumentError(f"show takes one number or its text, got {x!r}") from None
    if formats is None:
        chosen = list(DEFAULT_FORMATS)
    elif isinstance(formats, (str, Format)) or not isinstance(formats, Iterable):
        chosen = [as_format(formats)]
    else:
        chosen = [as_format(f) for f in formats]
    rows = []
    for f in chosen:
        row = describe(number, f)
        error = row["error_ulps"]
        shown = "-" if error is None else f"{error:+.4g}" if error else "exact"
        fields = (row[k] for k in ("format", "code", "bits", "kind", "value"))
        rows.append([*("-" if field is None else str(field) for field in fields), shown])
    header = ["format", "code", "bits", "kind", "value", "error (ulp)"]
    return Shown(text.table(header, rows, left=True))


def format_facts(f: Format) -> dict[str, object]:
    """The facts that `fpemu info` prints about a format."""
    return {
        "name": f.name,
        "bits": f.bits,
        "exponent_bits": f.exponent_bits,
        "fraction_bits": f.fraction_bits,
        "bias": f.bias,
        "encoding": f.encoding,
        "signed": f.signed,
        "max": decimal(f.max),
        "smallest_normal": decimal(f.smallest_normal),
        "smallest_subnormal": decimal(f.smallest_subnormal),
        "eps": decimal(f.eps),
        "largest_exact_integer_run": 2**f.precision if 2**f.precision <= f.max else int(f.max),
        "has_inf": f.has_inf,
        "has_nan": f.has_nan,
        "has_negative_zero": f.has_negative_zero,
        "has_zero": f.has_zero,
    }


def format_table(formats: Iterable[Format] = tuple(NAMED.values())) -> str:
    """All formats side by side."""
    rows = [
        [
            f.name,
            str(f.bits),
            str(f.exponent_bits),
            str(f.fraction_bits),
            f"{f.max:.6g}",
            f"{f.smallest_normal:.4g}",
            f"{f.smallest_subnormal:.4g}",
            f"{f.eps:.4g}",
            "yes" if f.has_inf else "no",
            "yes" if f.has_nan else "no",
        ]
        for f in formats
    ]
    header = ["format", "bits", "exp", "frac", "max", "min normal", "min subnormal", "eps"]
    return text.table([*header, "inf", "nan"], rows)
