"""Number formats as immutable data; everything else about them is derived.

A `Format` is five facts: a name, the widths of the exponent and fraction fields, the bias and
one of four encodings, which say what the highest codes mean:

=========  ==========================================================  ====================
encoding   highest codes                                               negative zero
=========  ==========================================================  ====================
"ieee"     top exponent holds infinity (fraction 0) and NaNs           yes
"fn"       no infinity; all ones is NaN, all else is a number          yes
"fnuz"     no infinity; all codes are numbers                          no: that code is NaN
"finite"   no infinity, no NaN; all codes are numbers                  yes
=========  ==========================================================  ====================

Sources: IEEE 754-2019 section 3.4; OCP 8-bit Floating Point (OFP8) 1.0, table 1; OCP
Microscaling Formats (MX) 1.0, section 5; the ml_dtypes documentation for the FNUZ formats.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from fpemu.errors import ArgumentError, unknown

ENCODINGS = ("ieee", "fn", "fnuz", "finite")


@dataclass(frozen=True, repr=False)
class Format:
    """A binary floating-point format, an immutable value that compares and hashes by its fields.

    Parameters
    ----------
    name : what it prints as.
    exponent_bits : width of the exponent field, 1 to 11.
    fraction_bits : width of the stored fraction, 0 to 52 (the leading 1 is not stored).
    bias : subtracted from the exponent field; by default ``2**(exponent_bits-1) - 1``, and
        one more for "fnuz".
    encoding : "ieee", "fn", "fnuz" or "finite", see the module's table.

    Raises
    ------
    ArgumentError : a field out of range, or values that a float64 cannot hold exactly.

    >>> dlfloat = Format(name="dlfloat", exponent_bits=6, fraction_bits=9)
    >>> dlfloat.bits, dlfloat.bias, dlfloat.max
    (16, 31, 4290772992.0)
    """

    name: str
    exponent_bits: int
    fraction_bits: int
    bias: int | None = None
    encoding: str = "ieee"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentError(f"a format's name must be a non-empty string, got {self.name!r}")
        if self.encoding not in ENCODINGS:
            raise unknown("encoding", self.encoding, ENCODINGS)
        for field, low, high in (("exponent_bits", 1, 11), ("fraction_bits", 0, 52)):
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
        if self.encoding == "fn" and self.exponent_bits + self.fraction_bits < 2:
            raise ArgumentError("an 'fn' format needs at least 2 bits beside the sign")
        if self.bias is None:
            default = (1 << (self.exponent_bits - 1)) - (self.encoding != "fnuz")
            object.__setattr__(self, "bias", default)
        elif isinstance(self.bias, bool) or not isinstance(self.bias, int):
            raise ArgumentError(f"bias must be an integer, got {self.bias!r}")
        if self.emax > 1023 or self.emin < -1022:
            raise ArgumentError(
                f"bias {self.bias} gives normal exponents from {self.emin} to {self.emax}, but "
                "values are held in float64: they must lie within -1022 to 1023"
            )

    # -- widths and exponents -------------------------------------------------------------

    @property
    def bits(self) -> int:
        """Width of a code in bits, sign included."""
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def precision(self) -> int:
        """Bits of the significand, the hidden leading 1 included."""
        return self.fraction_bits + 1

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal number."""
        return 1 - self._bias

    @functools.cached_property
    def emax(self) -> int:
        """Exponent of the largest finite number."""
        return max(self._max_code >> self.fraction_bits, 1) - self._bias

    # -- values ---------------------------------------------------------------------------

    @functools.cached_property
    def max(self) -> float:
        """Largest finite number."""
        field = self._max_code >> self.fraction_bits
        fraction = self._max_code & ((1 << self.fraction_bits) - 1)
        whole = fraction + ((1 << self.fraction_bits) if field else 0)
        return math.ldexp(whole, self.emax - self.fraction_bits)

    @property
    def min(self) -> float:
        """Smallest (most negative) finite number."""
        return -self.max

    @property
    def eps(self) -> float:
        """Distance from 1 to the next larger number, ``2**-fraction_bits``."""
        return math.ldexp(1.0, -self.fraction_bits)

    @property
    def smallest_normal(self) -> float:
        """Smallest positive number with full precision, ``2**emin``."""
        return math.ldexp(1.0, self.emin)

    @property
    def smallest_subnormal(self) -> float:
        """Smallest positive number, ``2**(emin - fraction_bits)``."""
        return math.ldexp(1.0, self.emin - self.fraction_bits)

    # -- what the codes can say -----------------------------------------------------------

    @property
    def has_inf(self) -> bool:
        """Whether there are codes for plus and minus infinity."""
        return self.encoding == "ieee"

    @property
    def has_nan(self) -> bool:
        """Whether there is a code for NaN."""
        return self.encoding != "finite"

    @property
    def has_negative_zero(self) -> bool:
        """Whether minus zero has a code of its own."""
        return self.encoding != "fnuz"

    @functools.cached_property
    def nan_code(self) -> int | None:
        """The code that fpemu writes for NaN (positive, quiet), or None without NaN."""
        if self.encoding == "ieee":
            return (((1 << self.exponent_bits) - 1) << self.fraction_bits) | (
                1 << (self.fraction_bits - 1)
            )
        return {"fn": self._max_code + 1, "fnuz": 1 << (self.bits - 1), "finite": None}[
            self.encoding
        ]

    @functools.cached_property
    def inf_code(self) -> int | None:
        """The code of plus infinity, or None without infinities."""
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
        return (
            f"fp.Format(name={self.name!r}, exponent_bits={self.exponent_bits}, "
            f"fraction_bits={self.fraction_bits}, bias={self.bias}, encoding={self.encoding!r})"
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
            "fnuz": top,
            "finite": top,
        }[self.encoding]


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

NAMED: dict[str, Format] = {}
NAMED.update(
    (f.name, f)
    for f in (
        *(FP64, FP32, TF32, FP16, BF16, E4M3, E5M2),
        *(E4M3FNUZ, E5M2FNUZ, E4M3B11FNUZ, E4M3_IEEE, E3M4, E2M3, E3M2, E2M1),
    )
)

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
}
_SYNONYMS = {
    "half": FP16,
    "single": FP32,
    "float": FP32,
    "double": FP64,
    "tfloat32": TF32,
    **DTYPES,
}


def as_format(f: object) -> Format:
    """The format that `f` names: a `Format`, a name, or a NumPy or ml_dtypes dtype.

    Raises `ArgumentError` with the list of names, and the nearest one, if there is none.

    >>> as_format("fp16"), as_format(np.float32), as_format("bfloat16")
    (fp.FP16, fp.FP32, fp.BF16)
    >>> as_format("bf61")
    Traceback (most recent call last):
    ...
    fpemu.errors.ArgumentError: unknown format 'bf61'; did you mean 'bf16'? allowed: fp64, fp32, \
tf32, fp16, bf16, e4m3, e5m2, e4m3fnuz, e5m2fnuz, e4m3b11fnuz, e4m3_ieee, e3m4, e2m3, e3m2, e2m1
    """
    if isinstance(f, Format):
        return f
    if isinstance(f, str):
        found = NAMED.get(f.lower()) or _SYNONYMS.get(f.lower())
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
    max: float
    min: float
    smallest_normal: float
    smallest_subnormal: float
    tiny: float


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
    return FormatInfo(
        bits=f.bits,
        nexp=f.exponent_bits,
        nmant=f.fraction_bits,
        precision=digits,
        resolution=float(f"1e-{digits}"),
        eps=f.eps,
        epsneg=f.eps / 2,
        machep=-f.fraction_bits,
        negep=-f.fraction_bits - 1,
        iexp=f.exponent_bits,
        minexp=f.emin,
        maxexp=f.emax + 1,
        max=f.max,
        min=f.min,
        smallest_normal=f.smallest_normal,
        smallest_subnormal=f.smallest_subnormal,
        tiny=f.smallest_normal,
    )
