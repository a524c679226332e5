"""`Array`: values of one format, held exactly; one rounding per operation.

An Array is immutable. Python numbers that meet it are first rounded to its format. Arrays of
different formats do not mix; cast one. What NumPy's functions do with Arrays is in `ufuncs` and
`functions`; `numpy.asarray(x)` is the way out, and counted as "escaped" by a trace.
"""

from __future__ import annotations

import html
import numbers
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from fpemu import context, events
from fpemu.carriers import carrier_dtype
from fpemu.convert import codes_of, decode, quantize, round_to
from fpemu.display import split_bits, written_code
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import FP64, Format, as_format, format_of_dtype
from fpemu.inputs import cast
from fpemu.interchange import to_dtype
from fpemu.markup import table
from fpemu.reals import written

_SHOWN = 64  # elements in a notebook's table


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """Values of one format. Made by `array` and `asarray`; `format` says which.

    Every operation is rounded once, under the settings of the `arithmetic` in force: ``+ - * / // %``
    and those NumPy functions that `fpemu info --numpy` lists (others raise `UnsupportedError`), and
    `rsqrt`, `sigmoid`, `erf`, `fma`, `remainder` and `round_to_integer` of fpemu's own. ``@`` and
    `sum` round every product and partial sum. minimum and maximum are IEEE's (NaN wins, -0 < +0), fmin
    and fmax its minimumNumber and maximumNumber (NaN loses). Comparisons give boolean ndarrays and
    are exact; a Python number is first rounded to the format there, too. ``x += y`` makes a new Array.

    >>> x = array([1.0, 0.1], "fp16")
    >>> x
    fp.array([1.0, 0.0999755859375], fp.FP16)
    >>> x + 0.0001
    fp.array([1.0, 0.10009765625], fp.FP16)
    """

    __slots__ = ("_codes", "_held", "format")
    _held: np.ndarray | None  # the values in the carrier, or None before they are asked for
    _codes: np.ndarray | None  # the codes, where the Array is a view of somebody's buffer
    format: Format
    __array_priority__ = 1000

    def __init__(
        self, values: np.ndarray | None, f: Format, codes: np.ndarray | None = None
    ) -> None:
        """For internal use: `values` must be values of `f` in its carrier dtype."""
        object.__setattr__(self, "_held", None if values is None else _frozen(values, f))
        object.__setattr__(self, "_codes", codes)
        object.__setattr__(self, "format", f)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an fpemu Array is immutable: cannot set {name!r}; make a new one")

    @property
    def _values(self) -> np.ndarray:
        if self._held is None:
            assert self._codes is not None
            object.__setattr__(
                self, "_held", _frozen(decode(self._codes, self.format), self.format)
            )
        return self._held  # type: ignore[return-value]

    # -- looking at it --------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as NumPy's."""
        return (self._values if self._codes is None else self._codes).shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return (self._values if self._codes is None else self._codes).size

    @property
    def codes(self) -> np.ndarray:
        """The bit patterns as right-aligned unsigned integers, in the array's shape."""
        return codes_of(self._values, self.format) if self._codes is None else self._codes

    def to_numpy(self) -> np.ndarray:
        """A copy of the values as float32 (float64 where float32 would not hold them, and Fractions
        where float64 would not)."""
        return self._values.copy()

    def to_ml_dtypes(self) -> np.ndarray:
        """The values in the NumPy or ml_dtypes dtype of the format (NaN as the one positive quiet
        NaN), without rounding; `UnsupportedError` if there is none. A view made by
        ``asarray(x, copy=False)`` gives a view of its buffer.

        >>> array([0.1, 1.0], "e4m3").to_ml_dtypes()
        array([0.101562, 1], dtype='float8_e4m3fn')
        """
        if self._codes is not None:
            return self._codes.view(to_dtype(np.zeros(0), self.format).dtype)
        return to_dtype(self._values, self.format)

    def tolist(self) -> Any:
        """The values as nested lists of Python floats, exactly (Fractions beyond float64)."""
        return self._values.tolist()

    def item(self) -> Any:
        """The one value of an array with one element, as a Python float (or Fraction)."""
        return self._values.item()

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        events.record_escape(self.format.name, self.size)
        if dtype is None or np.dtype(dtype) == self._values.dtype:  # type: ignore[call-overload]
            return self._values.copy() if copy else self._values
        if copy is False:
            raise ValueError(f"a {self.format.name} Array cannot become {dtype} without a copy")
        return self._values.astype(dtype)  # type: ignore[call-overload]

    def __float__(self) -> float:
        return float(self._values.item())

    def __int__(self) -> int:
        return int(self._values.item())

    def __bool__(self) -> bool:
        return bool(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Array]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d Array")
        return (Array(v, self.format) for v in self._values)

    def __repr__(self) -> str:
        if self.size > 1000:
            body = f"<{'x'.join(map(str, self.shape))} values>"
        else:
            body = str(self.tolist() if self.format.fits_float64 else _written(self.tolist()))
        return f"fp.array({body}, {self.format!r})"

    def _repr_html_(self) -> str:
        """A table of values, codes and bits, sign, exponent and fraction in colours; the first ones."""
        shown = min(self.size, _SHOWN)
        flat = self.reshape(-1)[:shown]
        rows: list[Any] = [
            [
                [[str(index)]],
                [[written(v)]],
                [[written_code(int(code), self.format)]],
                [[split_bits(int(code), self.format)]],
            ]
            for index, v, code in zip(
                np.ndindex(self.shape), flat.tolist(), flat.codes.tolist(), strict=False
            )
        ]
        more = f"<p>... {self.size - shown} more</p>" if shown < self.size else ""
        title = html.escape(f"{self.format.name}, shape {self.shape}")
        return f"<p>{title}</p>{table(['index', 'value', 'code', 'bits'], rows)}{more}"

    def __reduce__(self):
        return _from_codes, (self.codes, self.format)

    def __copy__(self) -> Array:
        return self

    def __deepcopy__(self, memo: object) -> Array:
        return self

    # -- the same values, arranged otherwise ----------------------------------------------

    @property
    def T(self) -> Array:
        """Transposed."""
        return Array(self._values.T, self.format)

    def reshape(self, *shape: Any) -> Array:
        """The same values in another shape, as `numpy.reshape`."""
        try:
            return Array(self._values.reshape(*shape), self.format)
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"cannot reshape {self.shape} to {shape}: {error}") from None

    def ravel(self) -> Array:
        """The same values in one dimension, in C order."""
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> Array:
        """Axes permuted, as `numpy.ndarray.transpose`."""
        try:
            return Array(self._values.transpose(*axes), self.format)
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"cannot transpose {self.shape} by {axes}: {error}") from None

    def __getitem__(self, index: Any) -> Array:
        if isinstance(index, Array):
            raise ArgumentError(
                "an Array cannot be an index; index with integers, slices or boolean arrays (such as "
                "x > 0)"
            )
        return Array(np.asarray(self._values[index]), self.format)

    # -- arithmetic -----------------------------------------------------------------------

    def astype(self, f: object, **settings) -> Array:
        """The values rounded once to the format `f`; settings as `quantize`."""
        return array(self, f, **settings)

    def sum(self, axis: int | None = None, **options) -> Array:
        """`fp.sum` of this array."""
        from fpemu import linalg

        return linalg.sum(self, axis, **options)

    def max(self, axis: Any = None, **options) -> Array:
        """The largest value along `axis`; NaN if there is one."""
        return np.max(self, axis, **options)  # type: ignore[call-overload]

    def min(self, axis: Any = None, **options) -> Array:
        """The smallest value along `axis`; NaN if there is one."""
        return np.min(self, axis, **options)  # type: ignore[call-overload]

    def __neg__(self) -> Array:
        """The sign changed and nothing else (IEEE 754 section 5.5.1); 0 has none in some formats, and
        formats without a sign take negative numbers by the saturation in force."""
        saturation = "none" if self.format.signed else context.current().saturation
        return Array(round_to(-self._values, self.format, saturation, count=False), self.format)

    def __pos__(self) -> Array:
        return self

    def __abs__(self) -> Array:
        return Array(np.abs(self._values), self.format)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object):
        from fpemu.arrays import ufuncs

        known = (Array, np.ndarray, np.generic, numbers.Real, Decimal, list, tuple)
        if not all(isinstance(v, known) for v in inputs):
            return NotImplemented
        return ufuncs.apply(ufunc, method, inputs, options)

    def __array_function__(self, function, types, args, kwargs):
        from fpemu.arrays import functions

        if not all(issubclass(t, (Array, np.ndarray)) for t in types):
            return NotImplemented
        return functions.apply(function, args, kwargs)


def _new_instead(operator: str):
    """``x += y`` for an immutable x: a new Array, as with Python's numbers."""

    def in_place(self: Array, other: object):
        return getattr(self, operator)(other)

    return in_place


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    setattr(Array, f"__i{_name}__", _new_instead(f"__{_name}__"))


def formats_among(x: object) -> set[Format]:
    """The formats of the Arrays in nested lists."""
    if isinstance(x, Array):
        return {x.format}
    if isinstance(x, (list, tuple)):
        return {f for v in x for f in formats_among(v)}
    return set()


def _frozen(values: np.ndarray, f: Format) -> np.ndarray:
    view = np.asarray(values, carrier_dtype(f)).view()  # NumPy turns 0-d results into scalars
    view.flags.writeable = False
    return view


def _from_codes(codes: np.ndarray, f: Format) -> Array:
    return Array(decode(codes, f), f)


def _keeps_values() -> bool:
    """Whether the arithmetic in force leaves the values of a format alone."""
    now = context.current()
    return now.subnormals == "gradual" and now.saturation != "finite"


class _Written(str):
    """Text that lists show without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _written(values: object) -> object:
    return [_written(v) for v in values] if isinstance(values, list) else _Written(written(values))  # type: ignore[arg-type]


def array(x: object, f: object, **settings) -> Array:
    """An `Array` of `x` rounded once to the format `f`; settings and errors as `quantize`.

    >>> array([0.1, 70000], "fp16").tolist()
    [0.0999755859375, inf]
    """
    f = as_format(f)
    if isinstance(x, Array) and x.format == f and not settings and _keeps_values():
        return x
    return Array(quantize(x, f, **settings), f)


def asarray(x: object, *, copy: bool = True) -> Array:
    """`x` as an Array without rounding: an Array, or a NumPy or ml_dtypes array of floats.

    Parameters
    ----------
    x : the dtype names the format; lists of numbers count as float64. What `numpy.load` reads of a
        file that `numpy.save` wrote of an Array is that Array.
    copy : whether to copy. Without, the Array is a view of `x`'s buffer: its `codes` and
        `to_ml_dtypes()` share memory with `x`, and are what `x` holds, NaN payloads included; the
        values are decoded when first needed, and `x` must not be changed afterwards.

    Raises `ArgumentError` for integers and other dtypes that are not a format.

    >>> asarray(np.float16([0.1])).format
    fp.FP16
    """
    from fpemu.arrays import storage

    if isinstance(x, Array):
        return x
    among = formats_among(x)
    if among:
        if len(among) > 1:
            raise ArgumentError(
                f"a list of arrays of {' and '.join(sorted(f.name for f in among))} has no one format; "
                "cast them, or say which: fp.array(x, format)"
            )
        return array(x, among.pop())
    values = np.asarray(x)
    if not isinstance(x, (np.ndarray, np.generic)) and values.dtype.kind in "biu":
        return array(x, FP64)
    stored = storage.format_of(values.dtype)
    if stored is not None:
        return _from_codes(values[storage.field_of(stored)], stored)
    f = format_of_dtype(values.dtype)
    if f is None:
        raise ArgumentError(
            f"an array of dtype {values.dtype} has no format of its own; say which: fp.array(x, format)"
        )
    if not copy:
        if not values.dtype.isnative:
            raise UnsupportedError("a byte-swapped array cannot be viewed; leave copy=True")
        codes = values.view(f"u{values.dtype.itemsize}")
        if f.bits < 8 and codes.size and int(codes.max()) >> f.bits:
            raise ArgumentError(
                f"the buffer holds bits beyond the {f.bits} of {f.name}'s codes; leave copy=True"
            )
        codes.flags.writeable = False
        return Array(None, f, codes)
    carried = np.array(cast(values, carrier_dtype(f)))
    nan = np.isnan(carried)
    if nan.any():
        carried[nan] = np.nan  # the one positive quiet NaN
    return Array(carried, f)
