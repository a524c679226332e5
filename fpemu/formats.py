"""Number formats as immutable data; everything else about them is derived.

A `Format` is a few facts: a name, the widths of the exponent and fraction fields, the bias,
whether there is a sign bit, and an encoding, which says what the highest codes mean:

================  ===================================================  ========================
encoding          highest codes                                        negative zero
================  ===================================================  ========================
"ieee"            top exponent holds infinity (fraction 0) and NaNs    yes
"fn"              no infinity; all ones is NaN, all else is a number   yes
"fnuz"            no infinity; all codes are numbers                   no: that code is NaN
"finite"          no infinity, no NaN; all codes are numbers           yes
"p3109_extended"  the top code is infinity                             no: that code is NaN
"p3109_finite"    no infinity; all codes are numbers                   no: that code is NaN
"fnu"             no infinity; all ones is NaN; no zero                no sign, no zero at all
================  ===================================================  ========================

A format without a sign has no negative values and no code of negative zero to spare: there NaN
is all ones, and the infinity of "p3109_extended" is the code below it. "fnu" is always without
a sign: its code 0 is not zero but the smallest number (the E8M0 scales of MX).

Sources: IEEE 754-2019 section 3.4; OCP 8-bit Floating Point (OFP8) 1.0, table 1; OCP
Microscaling Formats (MX) 1.0, section 5; the ml_dtypes documentation for the FNUZ formats; IEEE
P3109 interim report 4.0 for its own two.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from dataclasses import dataclass

import numpy as np

from fpemu.errors import ArgumentError, unknown
from fpemu.reals import Real, scaled

ENCODINGS = ("ieee", "fn", "fnuz", "finite", "p3109_extended", "p3109_finite", "fnu")


@dataclass(frozen=True, repr=False, eq=False)
class Format:
    """A binary floating-point format, an immutable value that compares and hashes by its fields.

    Parameters
    ----------
    name : what it prints as.
    exponent_bits : width of the exponent field, 1 to 11; with P3109's encodings to 15.
    fraction_bits : width of the stored fraction, 0 to 52 (the leading 1 is not stored).
    bias : subtracted from the exponent field; by default ``2**(exponent_bits-1) - 1``, and
        one more for "fnuz" and the P3109 encodings.
    encoding : see the module's table.
    signed : whether there is a sign bit ("fnu" has none).

    Values are Python floats; the few formats that reach beyond float64 (more than 11 exponent bits,
    or an unusual bias) have Fractions there, and only the slow exact reference computes in them.

    Raises
    ------
    ArgumentError : a field out of range, fields of more than 63 bits together, or values outside of
        2**-33000 to 2**33000.

    >>> dlfloat = Format(name="dlfloat", exponent_bits=6, fraction_bits=9)
    >>> dlfloat.bits, dlfloat.bias, dlfloat.max
    (16, 31, 4290772992.0)
    """

    name: str
    exponent_bits: int
    fraction_bits: int
    bias: int | None = None
    encoding: str = "ieee"
    signed: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentError(f"a format's name must be a non-empty string, got {self.name!r}")
        if self.encoding not in ENCODINGS:
            raise unknown("encoding", self.encoding, ENCODINGS)
        widest = 15 if self.follows_p3109 else 11
        for field, low, high in (("exponent_bits", 1, widest), ("fraction_bits", 0, 52)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ArgumentError(
                    f"{field} must be an integer from {low} to {high}, got {value!r}"
                )
        if self.encoding == "ieee" and (self.exponent_bits < 2 or self.fraction_bits < 1):
            raise ArgumentError(
                "an 'ieee' format needs exponent_bits >= 2 and fraction_bits >= 1, because its top "
                f"exponent holds infinity and NaN; got {self.exponent_bits} and "
                f"{self.fraction_bits}: use encoding 'fn', 'fnuz' or 'finite'"
            )
        if not isinstance(self.signed, bool):
            raise ArgumentError(f"signed must be True or False, got {self.signed!r}")
        if self.encoding == "fnu":
            object.__setattr__(self, "signed", False)
        spare = {"fn": 1, "fnu": 1, "p3109_extended": 2 - self.signed}.get(self.encoding, 0)
        spare += self._codes_at_the_top_for_nan if self.encoding in ("fnuz", "p3109_finite") else 0
        if (1 << (self.exponent_bits + self.fraction_bits)) - spare < 2:
            raise ArgumentError(
                f"{self.exponent_bits} exponent and {self.fraction_bits} fraction bits leave an "
                f"{self.encoding!r} format no number beside zero: use more bits"
            )
        if self.bias is None:
            one_more = self.encoding in ("fnuz", "p3109_extended", "p3109_finite")
            default = (1 << (self.exponent_bits - 1)) - (not one_more)
            object.__setattr__(self, "bias", default)
        elif isinstance(self.bias, bool) or not isinstance(self.bias, int):
            raise ArgumentError(f"bias must be an integer, got {self.bias!r}")
        if self.exponent_bits + self.fraction_bits > 63:
            raise ArgumentError(
                "exponent_bits and fraction_bits must not exceed 63 together, got "
                f"{self.exponent_bits} and {self.fraction_bits}"
            )
        if self.emax > 33000 or self.emin - self.fraction_bits < -33000:
            raise ArgumentError(
                f"bias {self.bias} gives values from 2**{self.emin - self.fraction_bits} to about "
                f"2**{self.emax}; they must lie within 2**-33000 to 2**33000"
            )

    # Equality by the fields, quick where it is the same object: formats are compared all the time.

    @functools.cached_property
    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._fields)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return self._fields == other._fields if isinstance(other, Format) else NotImplemented

    def __hash__(self) -> int:
        return self._hash

    # -- widths and exponents -------------------------------------------------------------

    @property
    def bits(self) -> int:
        """Width of a code in bits, sign included."""
        return self.signed + self.exponent_bits + self.fraction_bits

    @property
    def precision(self) -> int:
        """Bits of the significand, the hidden leading 1 included."""
        return self.fraction_bits + 1

    @functools.cached_property
    def emin(self) -> int:
        """Exponent of the smallest normal number."""
        return self.first_normal_field - self._bias

    @functools.cached_property
    def emax(self) -> int:
        """Exponent of the largest finite number."""
        return max(self._max_code >> self.fraction_bits, self.first_normal_field) - self._bias

    # -- values ---------------------------------------------------------------------------

    @functools.cached_property
    def max(self) -> Real:
        """Largest finite number."""
        field = self._max_code >> self.fraction_bits
        fraction = self._max_code & ((1 << self.fraction_bits) - 1)
        normal = field >= self.first_normal_field
        whole = fraction + ((1 << self.fraction_bits) if normal else 0)
        return scaled(whole, self.emax - self.fraction_bits)

    @property
    def min(self) -> Real:
        """Smallest finite number: the most negative, without a sign zero, in E8M0 2**-127."""
        if self.signed:
            return -self.max
        return 0.0 if self.has_zero else self.smallest_normal

    @property
    def eps(self) -> float:
        """Distance from 1 to the next larger number, ``2**-fraction_bits``."""
        return math.ldexp(1.0, -self.fraction_bits)

    @functools.cached_property
    def smallest_normal(self) -> Real:
        """Smallest positive number with full precision, ``2**emin``."""
        return scaled(1, self.emin)

    @functools.cached_property
    def smallest_subnormal(self) -> Real:
        """Smallest positive number, ``2**(emin - fraction_bits)``; a normal one if there are
        no others."""
        return scaled(1, self.emin - (self.fraction_bits if self.has_zero else 0))

    @functools.cached_property
    def fits_float64(self) -> bool:
        """Whether float64 holds every value exactly."""
        return self.emax <= 1023 and self.emin - self.fraction_bits >= -1074

    # -- what the codes can say -----------------------------------------------------------

    @property
    def has_inf(self) -> bool:
        """Whether there is a code for infinity (two with a sign)."""
        return self.encoding in ("ieee", "p3109_extended")

    @property
    def has_nan(self) -> bool:
        """Whether there is a code for NaN."""
        return self.encoding != "finite"

    @property
    def has_negative_zero(self) -> bool:
        """Whether minus zero has a code of its own."""
        return self.signed and self.encoding in ("ieee", "fn", "finite")

    @property
    def has_zero(self) -> bool:
        """Whether zero has a code: only "fnu" has none."""
        return self.encoding != "fnu"

    @property
    def follows_p3109(self) -> bool:
        """Whether overflow without saturation is P3109's: a format without infinity stays finite,
        and negative values become zero where there is no sign."""
        return self.encoding.startswith("p3109")

    @property
    def first_normal_field(self) -> int:
        """The exponent field of the smallest normal number: 1, below it stand the subnormals."""
        return 1 if self.has_zero else 0

    @functools.cached_property
    def nan_code(self) -> int | None:
        """The code that fpemu writes for NaN (positive, quiet), or None without NaN."""
        if self.encoding == "finite":
            return None
        if self.encoding == "ieee":
            return (((1 << self.exponent_bits) - 1) << self.fraction_bits) | (
                1 << (self.fraction_bits - 1)
            )
        if self.encoding == "fn" or not self.signed:
            return (1 << (self.exponent_bits + self.fraction_bits)) - 1
        return 1 << (self.bits - 1)

    @functools.cached_property
    def inf_code(self) -> int | None:
        """The code of plus infinity, or None without one."""
        return self._max_code + 1 if self.has_inf else None

    @property
    def max_code(self) -> int:
        """The code of the largest finite number."""
        return self._max_code

    # -- text -----------------------------------------------------------------------------

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        if NAMED.get(self.name) == self:
            return f"fp.{_constant(self.name)}"
        written = _P3109_NAME.fullmatch(self.name)
        if written and self.follows_p3109 and as_format(self.name) == self:
            options = "" if self.signed else ", signed=False"
            options += "" if self.has_inf else ", extended=False"
            return f"fp.p3109({written[1]}, {written[2]}{options})"
        return (
            f"fp.Format(name={self.name!r}, exponent_bits={self.exponent_bits}, "
            f"fraction_bits={self.fraction_bits}, bias={self.bias}, encoding={self.encoding!r}"
            + (")" if self.signed or self.encoding == "fnu" else ", signed=False)")
        )

    @property
    def _bias(self) -> int:
        assert self.bias is not None  # set in __post_init__; here for the type checker
        return self.bias

    @functools.cached_property
    def _max_code(self) -> int:
        top = (1 << (self.exponent_bits + self.fraction_bits)) - 1
        return {
            "ieee": top - (1 << self.fraction_bits),
            "fn": top - 1,
            "finite": top,
            "fnu": top - 1,
            "fnuz": top - self._codes_at_the_top_for_nan,
            "p3109_finite": top - self._codes_at_the_top_for_nan,
            "p3109_extended": top - self._codes_at_the_top_for_nan - 1,
        }[self.encoding]

    @property
    def _codes_at_the_top_for_nan(self) -> int:
        """Where NaN would stand in the place of negative zero: that, or without a sign the top."""
        return 0 if self.signed else 1


def _constant(name: str) -> str:
    """The Python constant of a named format: "e4m3_ieee" is ``E4M3_IEEE``."""
    return name.upper()


FP64 = Format("fp64", 11, 52)
FP32 = Format("fp32", 8, 23)
TF32 = Format("tf32", 8, 10)
FP16 = Format("fp16", 5, 10)
BF16 = Format("bf16", 8, 7)
E4M3 = Format("e4m3", 4, 3, encoding="fn")
E5M2 = Format("e5m2", 5, 2)
E4M3FNUZ = Format("e4m3fnuz", 4, 3, encoding="fnuz")
E5M2FNUZ = Format("e5m2fnuz", 5, 2, encoding="fnuz")
E4M3B11FNUZ = Format("e4m3b11fnuz", 4, 3, bias=11, encoding="fnuz")
E4M3_IEEE = Format("e4m3_ieee", 4, 3)
E3M4 = Format("e3m4", 3, 4)
E2M3 = Format("e2m3", 2, 3, encoding="finite")
E3M2 = Format("e3m2", 3, 2, encoding="finite")
E2M1 = Format("e2m1", 2, 1, encoding="finite")
E8M0 = Format("e8m0", 8, 0, encoding="fnu")

NAMED: dict[str, Format] = {}
NAMED.update(
    (f.name, f)
    for f in (
        *(FP64, FP32, TF32, FP16, BF16, E4M3, E5M2),
        *(E4M3FNUZ, E5M2FNUZ, E4M3B11FNUZ, E4M3_IEEE, E3M4, E2M3, E3M2, E2M1, E8M0),
    )
)


def p3109(bits: int, precision: int, signed: bool = True, extended: bool = True) -> Format:
    """The format binary{bits}p{precision} of IEEE P3109, named as "binary8p4se".

    Parameters
    ----------
    bits : width of a code, 3 to 15.
    precision : bits of the significand with the hidden one: 1 to ``bits - 1``, without a sign to
        ``bits``.
    signed : with a sign ("s") or without ("u").
    extended : with infinity ("e") or without, finite ("f").

    One NaN, no negative zero, subnormals. The bias is ``2**(bits-precision-1)``, without a sign
    ``2**(bits-precision)``.

    The 32 formats with more than 11 exponent bits (from binary12p1u and binary13p1s on) reach beyond
    float64; see `Format`.

    Raises `ArgumentError` for a number out of range.

    Source: IEEE P3109 interim report 4.0, section 3.

    >>> p3109(8, 4), p3109(8, 4).max, p3109(8, 3, signed=False).max
    (fp.p3109(8, 4), 224.0, 2684354560.0)
    >>> as_format("binary8p4se") == p3109(8, 4)
    True
    """
    for name, value in (("bits", bits), ("precision", precision)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise ArgumentError(f"{name} must be an integer, got {value!r}")
    if not 3 <= bits <= 15:
        raise ArgumentError(f"bits must be from 3 to 15, got {bits}")
    highest = bits - 1 if signed else bits
    if not 1 <= precision <= highest:
        raise ArgumentError(
            f"precision must be from 1 to {highest} for {bits} bits "
            f"{'with' if signed else 'without'} a sign, got {precision}"
        )
    name = f"binary{bits}p{precision}{'s' if signed else 'u'}{'e' if extended else 'f'}"
    exponent_bits = int(bits - precision + (0 if signed else 1))
    encoding = "p3109_extended" if extended else "p3109_finite"
    return Format(name, exponent_bits, int(precision) - 1, encoding=encoding, signed=bool(signed))


_P3109_NAME = re.compile(r"(?:binary)?(\d+)p(\d+)([su])([ef])")

# Other people's names for the same formats: NumPy and ml_dtypes dtypes, and what papers say.
DTYPES = {
    "float64": FP64,
    "float32": FP32,
    "float16": FP16,
    "bfloat16": BF16,
    "float8_e4m3fn": E4M3,
    "float8_e5m2": E5M2,
    "float8_e4m3fnuz": E4M3FNUZ,
    "float8_e5m2fnuz": E5M2FNUZ,
    "float8_e4m3b11fnuz": E4M3B11FNUZ,
    "float8_e4m3": E4M3_IEEE,
    "float8_e3m4": E3M4,
    "float6_e2m3fn": E2M3,
    "float6_e3m2fn": E3M2,
    "float4_e2m1fn": E2M1,
    "float8_e8m0fnu": E8M0,
}
_SYNONYMS = {
    "half": FP16,
    "single": FP32,
    "float": FP32,
    "double": FP64,
    "tfloat32": TF32,
    "fp22": Format("fp22", 8, 13),  # 1 + 8 + 13 bits: Hopper's FP8 sums; SageAttention2's name
    **DTYPES,
}


def as_format(f: object) -> Format:
    """The format that `f` names: a `Format`, a name, or a NumPy or ml_dtypes dtype.

    P3109 formats go by their own names, "binary8p4se".

    Raises `ArgumentError` with the list of names, and the nearest one, if there is none.

    >>> as_format("fp16"), as_format(np.float32), as_format("bfloat16")
    (fp.FP16, fp.FP32, fp.BF16)
    >>> as_format("bf61")
    Traceback (most recent call last):
    ...
    fpemu.errors.ArgumentError: unknown format 'bf61'; did you mean 'bf16'? allowed: fp64, fp32, \
tf32, fp16, bf16, e4m3, e5m2, e4m3fnuz, e5m2fnuz, e4m3b11fnuz, e4m3_ieee, e3m4, e2m3, e3m2, e2m1, e8m0
    """
    if isinstance(f, Format):
        return f
    if isinstance(f, str):
        found = NAMED.get(f.lower()) or _SYNONYMS.get(f.lower())
        written = _P3109_NAME.fullmatch(f.lower())
        if written:
            bits, precision, sign, domain = written.groups()
            found = p3109(int(bits), int(precision), sign == "s", domain == "e")
        if found is None:
            raise unknown("format", f, NAMED)
        return found
    found = None if f is None else format_of_dtype(f)  # NumPy takes None for float64
    if found is None:
        raise unknown("format", f, NAMED)
    return found


def format_of_dtype(dtype: object) -> Format | None:
    """The format that a NumPy or ml_dtypes dtype stores, or None (integers, objects, no dtype).

    >>> format_of_dtype(np.float16), format_of_dtype(np.int8)
    (fp.FP16, None)
    """
    try:
        return DTYPES.get(np.dtype(dtype).name)  # type: ignore[call-overload]
    except TypeError:
        return None


@dataclass(frozen=True)
class FormatInfo:
    """The facts about a format under the attribute names of `numpy.finfo`; see `finfo`."""

    bits: int
    nexp: int
    nmant: int
    precision: int
    resolution: float
    eps: float
    epsneg: float
    machep: int
    negep: int
    iexp: int
    minexp: int
    maxexp: int
    max: Real
    min: Real
    smallest_normal: Real
    smallest_subnormal: Real
    tiny: Real


def finfo(f: object) -> FormatInfo:
    """`numpy.finfo` for any format: same attribute names, same meaning, values as Python floats.

    Note that ``finfo(f).precision`` counts decimal digits, as NumPy does, whereas
    ``f.precision`` counts bits. `maxexp` is the smallest power of two that overflows when it
    is the power of two above `max`; `minexp` is the exponent of the smallest normal.

    >>> finfo("fp16").eps, finfo("fp16").max, finfo("fp16").precision
    (0.0009765625, 65504.0, 3)
    """
    f = as_format(f)
    digits = int(-math.log10(f.eps)) if f.fraction_bits else 0
    below_one = (-1 if f.emin < 0 else 0) - f.fraction_bits  # 1 may be the smallest normal
    return FormatInfo(
        bits=f.bits,
        nexp=f.exponent_bits,
        nmant=f.fraction_bits,
        precision=digits,
        resolution=float(f"1e-{digits}"),
        eps=f.eps,
        epsneg=math.ldexp(1.0, below_one),
        machep=-f.fraction_bits,
        negep=below_one,
        iexp=f.exponent_bits,
        minexp=f.emin,
        maxexp=f.emax + 1,
        max=f.max,
        min=f.min,
        smallest_normal=f.smallest_normal,
        smallest_subnormal=f.smallest_subnormal,
        tiny=f.smallest_normal,
    )
