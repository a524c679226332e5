"""Numbers shown: bits, exact decimals, neighbours, error. Uses only the exact reference."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from fpemu import exact, text
from fpemu.formats import BF16, E4M3, E5M2, FP16, FP32, NAMED, TF32, Format, as_format
from fpemu.markup import Bits, Line, Shown, table
from fpemu.numerals import decimal, integer_times_power, last_place, number_of, ulps
from fpemu.numerals import parse_number as parse_number
from fpemu.reals import Number, Real, is_finite, is_infinite, is_nan, size_of

DEFAULT_FORMATS = (FP32, TF32, FP16, BF16, E4M3, E5M2)


def split_bits(code: int, f: Format) -> Bits:
    """Sign (if there is one), exponent and fraction fields of a code, separated by blanks.

    >>> from fpemu.formats import FP16
    >>> split_bits(0x2E66, FP16)
    '0 01011 1001100110'
    """
    whole = f"{code:0{f.bits}b}"
    sign, exponent = int(f.signed), int(f.signed) + f.exponent_bits
    fields = (whole[:sign], whole[sign:exponent], whole[exponent:])
    return Bits.of(" ".join(field for field in fields if field), f)


def describe(x: Number, f: Format) -> dict[str, object]:
    """`x` rounded once to `f`, nearest even: code, bits, exact value, error, neighbours.

    What there is not is None: everything for NaN in a format without it, the neighbours and the
    error of NaN and infinities.

    >>> from fpemu.formats import FP16
    >>> row = describe(0.1, FP16)
    >>> row["code"], row["integer_times_power"], row["below"]
    ('0x2e66', '1638*2**-14', '0.09991455078125')
    """
    if is_nan(x) and not f.has_nan:
        fields = ("code", "bits", "value", "integer_times_power", "below", "above", "error_ulps")
        return {"format": f.name, "kind": "has no NaN", **dict.fromkeys(fields)}
    value = exact.round_to(x, f)
    row: dict[str, object] = {
        "format": f.name,
        **stored(value, f),
        "kind": kind_of(value, f),
        "integer_times_power": integer_times_power(value, f),
        "below": None,
        "above": None,
        "error_ulps": None,
    }
    if is_finite(value):
        below, above = neighbours(value, f)
        row["below"], row["above"] = decimal(below), decimal(above)
        if is_finite(x):
            row["error_ulps"] = ulps(Fraction(value) - Fraction(x), last_place(value, f))
    return row


def stored(value: Real, f: Format) -> dict[str, str]:
    """The exact decimal, the code and the split bits of `value`, a value of `f`."""
    code = exact.encode(value, f)
    return {"value": decimal(value), "code": written_code(code, f), "bits": split_bits(code, f)}


def written_code(code: int, f: Format) -> str:
    """A code in hexadecimal, with a digit for every four bits of the format.

    >>> from fpemu.formats import E2M3
    >>> written_code(5, E2M3)
    '0x05'
    """
    return f"0x{code:0{-(-f.bits // 4)}x}"


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


COLUMNS = {
    "format": "format",
    "code": "code",
    "bits": "bits",
    "kind": "kind",
    "value": "value",
    "integer_times_power": "integer*2**e",
    "error_ulps": "error (ulp)",
    "below": "below",
    "above": "above",
}


def show(x: object, formats: Iterable[object] | object | None = None) -> Shown:
    """How `x` is stored in each of `formats`: bits, exact value, error and both neighbours.

    `x` is a number (a string is read as the exact decimal that it says; a Python float as the
    float64 that it is), `formats` one format or several, by default the six common ones. Each is
    rounded to nearest even. The value comes as a decimal, all digits given, and as an integer times
    a power of two; the error in units of its last place. NaN and infinities have neither error nor
    neighbours; NaN in a format without it is a row that says so; -0 keeps its sign where it can.

    Returns text, which notebooks show as a table with the fields of the code in colours.
    Raises `ArgumentError` for what is no number and for unknown formats.

    >>> print(show("0.1", ["fp16", "e4m3"]))
    format  code    bits                kind    value            integer*2**e  error (ulp)  below             above
    ------  ------  ------------------  ------  ---------------  ------------  -----------  ----------------  ----------------
    fp16    0x2e66  0 01011 1001100110  normal  0.0999755859375  1638*2**-14   -0.4         0.09991455078125  0.10003662109375
    e4m3    0x1d    0 0011 101          normal  0.1015625        13*2**-7      +0.2         0.09375           0.109375
    """
    number = number_of(x, "show")
    if formats is None:
        chosen = list(DEFAULT_FORMATS)
    elif isinstance(formats, (str, Format)) or not isinstance(formats, Iterable):
        chosen = [as_format(formats)]
    else:
        chosen = [as_format(f) for f in formats]
    rows = [
        [_cell(row[key], key) for key in COLUMNS] for row in (describe(number, f) for f in chosen)
    ]
    cells: list[list[list[Line]]] = [[[[cell]] for cell in row] for row in rows]
    header = list(COLUMNS.values())
    return Shown(text.table(header, rows, left=True), table(header, cells))


def _cell(fact: object, key: str) -> str:
    if fact is None:
        return "-"
    if key == "error_ulps":
        return f"{fact:+.4g}" if fact else "exact"
    return fact if isinstance(fact, Bits) else str(fact)


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
