"""`fp.explain`: callable for one rounding, with a method for each operation."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from fpemu import context
from fpemu.context import Arithmetic
from fpemu.errors import unknown
from fpemu.explaining.numbers import expansion
from fpemu.explaining.operations import SIGNS, Operation
from fpemu.explaining.report import Explanation, title
from fpemu.explaining.rounding import Rounding
from fpemu.explaining.steps import Away
from fpemu.formats import as_format
from fpemu.numerals import number_of

SETTINGS = (
    *("rounding", "saturation", "subnormals"),
    *("seed", "random_bits", "random_variant", "tininess"),
)


class Explainer:
    """Why a number rounds as it does, in words and numbers; its methods explain operations.

    ``fp.explain(x, f)`` tells how `x` is rounded to the format `f`: the exact value in decimal and
    binary, the grid of the format there, both neighbours and where `x` lies between them, what the
    rounding mode decides and why, overflow (judged after rounding), saturation, subnormals, signed
    zero, the result with its code and error, and the flags raised; and, where it matters, what
    rounding to float32 or float64 first would have made of it.

    Parameters
    ----------
    x : a number or its text, read exactly ("0.1", "2^-25", "1/3"); a Python float is the float64
        that it is.
    f : a `Format`, its name, or a dtype.
    rounding, saturation, subnormals : see `fpemu.rounding`; by default those of the `arithmetic` in
        force, outside of any "nearest_even", "none" and "gradual".
    seed, random_bits, random_variant : for "stochastic", as in `quantize`. With a seed the draw for
        element 0 decides; without one both outcomes are told with their probabilities.
    tininess : "after" or "before" rounding, for the underflow flag.

    Returns
    -------
    Text that notebooks show as a table with the fields of codes in colours. Its attribute `result`
    is the value, the same as `exact.round_to` gives, and `facts` all of it as a dictionary.
    NaN, infinities and zeros are explained, too: which rule makes what of them. NaN for a format
    that has none is refused, as `quantize` refuses it: the text says so, `result` is None.

    Raises
    ------
    ArgumentError : `x` is no number; unknown format, setting or value of a setting.

    Source: IEEE 754-2019 sections 4.3 and 7; OFP8 1.0 table 3; P3109 for stochastic rounding.

    >>> import fpemu as fp
    >>> print(fp.explain(464, "e4m3"))
    464 in e4m3, nearest_even
    exact value  464
                 1.110|1 * 2**8 in binary
    grid         2**8 <= |x| < 2**9: numbers of e4m3 are 2**5 = 32 apart (1 ulp)
    neighbours   below  448  0x7e  0 1111 110
                 above  480  -     (beyond the largest number)
    position     1/2 of the way up, a tie
    decision     a tie: nearest_even takes the neighbour whose last bit is 0, 448
    overflow     none: it is judged after rounding
                 464 is the tie beyond the largest number, 448, and nearest_even takes it down to that; what lies further overflows
    result       448  0x7e  0 1111 110  14*2**5
    error        -0.5 ulp
    flags        inexact
    """

    def __repr__(self) -> str:
        return "fp.explain"

    def __call__(
        self,
        x: object,
        f: object,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
        subnormals: str | None = None,
        seed: int | None = None,
        random_bits: int | None = None,
        random_variant: str | None = None,
        tininess: str | None = None,
    ) -> Explanation:
        """Explain one rounding; see the class."""
        options = {
            "rounding": rounding,
            "saturation": saturation,
            "subnormals": subnormals,
            "seed": seed,
            "random_bits": random_bits,
            "random_variant": random_variant,
            "tininess": tininess,
        }
        f = as_format(f)
        number = number_of(x, "explain")
        settings, draw = _arithmetic(options)
        written = _written(x)
        told = Rounding(number, f, settings, draw, said=written)
        return Explanation.of(
            title(f"{written} in {f.name}", settings), told.sections, told.facts, told.result
        )

    def add(self, a: object, b: object, f: object, **options: Any) -> Explanation:
        """Explain a + b in `f`, with the significands aligned under each other.

        Operands are numbers as `explain` takes them, and first rounded to nearest even where they
        are not values of `f`, which the text says. `options` are those of `explain`; the result is
        that of `exact.compute`. Says whether an addend was swamped: not zero, and yet it left the
        other unchanged. NaN, infinities and exact zeros follow IEEE 754 section 6. Raises
        `ArgumentError` as `explain` does, and for NaN in a format without it.

        >>> import fpemu as fp
        >>> told = fp.explain.add(2048, 1, "fp16")
        >>> told.result, told.facts["swamped"]
        (2048.0, 'b')
        """
        return _operation("add", (a, b), f, options)

    def subtract(self, a: object, b: object, f: object, **options: Any) -> Explanation:
        """Explain a - b in `f`; see `add`.

        >>> import fpemu as fp
        >>> fp.explain.subtract(1, "0.1", "fp16").result
        0.89990234375
        """
        return _operation("subtract", (a, b), f, options)

    def multiply(self, a: object, b: object, f: object, **options: Any) -> Explanation:
        """Explain a * b in `f`: the integer significands, and how many bits their product has.

        Operands, options, result and errors as in `add`; infinity times zero is invalid: NaN.

        >>> import fpemu as fp
        >>> fp.explain.multiply(300, 300, "fp16").facts["flags"]
        ['inexact', 'overflow']
        """
        return _operation("multiply", (a, b), f, options)

    def divide(self, a: object, b: object, f: object, **options: Any) -> Explanation:
        """Explain a / b in `f`. x/0 is an infinity and signals, 0/0 is NaN; else as in `add`.

        >>> import fpemu as fp
        >>> fp.explain.divide(1, 3, "fp16").result
        0.333251953125
        """
        return _operation("divide", (a, b), f, options)

    def sqrt(self, a: object, f: object, **options: Any) -> Explanation:
        """Explain the square root of a in `f`. sqrt(-0) is -0, of less NaN; else as in `add`.

        >>> import fpemu as fp
        >>> fp.explain.sqrt(2, "fp16").result
        1.4140625
        """
        return _operation("sqrt", (a,), f, options)

    def fma(self, a: object, b: object, c: object, f: object, **options: Any) -> Explanation:
        """Explain a * b + c in `f`, rounded once: the exact product is aligned with c; see `add`.

        >>> import fpemu as fp
        >>> fp.explain.fma(192, 192, 2.0**-16, "e5m2").result
        40960.0
        """
        return _operation("fma", (a, b, c), f, options)

    def sum(
        self,
        x: object,
        f: object,
        *,
        accumulate: object = None,
        order: str = "sequential",
        product: object = None,
        start: object = None,
        out: object = None,
        rounding: str | None = None,
        saturation: str | None = None,
        subnormals: str | None = None,
        seed: int | None = None,
        random_bits: int | None = None,
    ) -> Explanation:
        """Explain the sum of `x` in `f`: where it stopped growing and why, and what would help.

        The steps are those of `fp.sum`, followed one by one: the first inexact, swamped (a nonzero
        addend that left the total unchanged), cancelling, subnormal, overflowing, infinite or NaN
        one, each with the total before, the addend, the exact result and what rounding made of it;
        where all that followed was swamped; how much that lost; the growth of the sum; and what
        other models give for the same terms.

        Parameters
        ----------
        x : the terms, shape (n,): an Array, a NumPy array of any dtype, or any sequence of numbers
            or their texts, read exactly. They are first rounded to `f` as `fp.array` does, and the
            text says how many that changed.
        f : a `Format`, its name, or a dtype.
        accumulate, order, product, out : the accumulation model and the result's format, as in
            `fp.sum`.
        start : what the sum starts with, a number that is first rounded to the accumulator's format
            (+0 if not given).
        rounding, saturation, subnormals, seed, random_bits : of the sum's steps, where the model
            leaves them open; by default those of the `arithmetic` in force.

        Returns
        -------
        Text as `explain` gives it. `result` is what ``fp.sum(fp.array(x, f), ...)`` gives, bit for
        bit; `facts` has numbers as exact decimals, those of more than 60 digits cut and marked.
        Steps are counted over all additions, in the order in which they happen; errors are in
        units in the last place of the exact sum. NaN and infinities among the terms are
        followed as IEEE 754 has it, and leave no exact sum; the sum of nothing is +0, and so is that
        of negative zeros. Inside of an `arithmetic` block no flag is set and nothing trapped.

        Raises
        ------
        ArgumentError : `x` is no sequence, has more than one axis, holds what is no number, or more
            than 2**19 terms (2**17 for "kahan" and "neumaier"); NaN for a format without it; unknown
            formats, orders and settings, and settings that the model says already.

        Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition 2002,
        sections 4.2 and 4.3.

        >>> import fpemu as fp
        >>> told = fp.explain.sum([1] * 4096, "fp16")
        >>> told.result, told.facts["stopped"]["step"], told.facts["lost_to_swamped"]
        (2048.0, 2049, '2048')
        """
        from fpemu.explaining.sums import explain_sum

        options = {
            "rounding": rounding,
            "saturation": saturation,
            "subnormals": subnormals,
            "seed": seed,
            "random_bits": random_bits,
        }
        return explain_sum(x, f, accumulate, order, product, start, out, options)

    def matrix_step(
        self,
        a: object,
        b: object,
        c: object = 0.0,
        unit: object = "h100",
        *,
        f: object = None,
        scales: object = None,
    ) -> Explanation:
        """Explain one step of a matrix unit: the exponents of products and accumulator, the alignment, the
        bits that are cut off, the sum and its rounding, what FP32 would give and why that is another number.

        Parameters
        ----------
        a, b : the operands, shape (k,), k at most the products of one step (8 where a step is a fused
            multiply-add): Arrays, NumPy arrays whose dtypes are formats, or with `f` any numbers.
        c : the accumulator, a number that is first rounded to the unit's accumulator format.
        unit : a matrix unit, or its text.
        f : the operands' format, to which they are first rounded.
        scales : for block-scaled instructions two sequences, the scales of a's blocks and of b's: Arrays,
            or numbers that are rounded to E8M0, those of blocks of 16 to E4M3.

        Returns text as `explain` gives it, whose `svg` is a picture of the window; `result` is what
        ``fp.dot(a, b, c, accumulate=unit)`` gives, with `scales` what `fp.scaled_matmul` gives. Reasons
        are tried: with the named rules taken out the step does give the exact sum rounded once.
        NaN and infinities decide before any sum. Raises `ArgumentError` for vectors that do not fit, and
        `UnsupportedError` for formats that the unit does not take.
        Source: see `fpemu.exact.matrix_units` and `fpemu.exact.scaled_units`.

        >>> import fpemu as fp
        >>> told = fp.explain.matrix_step([1, -1, "2^-25"], [1, 1, 1], unit="a100", f="bf16")
        >>> told.result, told.facts["kept"]
        (0.0, [16777216, -16777216, 0, 0])
        >>> print(told.facts["why"][0])
        the exact sum rounded once is 2.9802322387695312e-08; with the bits that p2 lost it would be that
        """
        from fpemu.explaining.matrix_steps.telling import explain_step

        return explain_step(a, b, c, unit, f, scales)

    def matrix_chain(
        self,
        a: object,
        b: object,
        units: object = ("v100", "a100", "h100", "fp32"),
        c: object = 0.0,
        *,
        f: object = None,
    ) -> Explanation:
        """Explain a dot product on several chips, step by step: the accumulator after each, what was cut off
        and rounded away, and after which step any two of them part.

        Parameters
        ----------
        a, b : the operands, shape (k,), as `matrix_step` takes them, up to 2**14 products.
        units : matrix units, accumulation models, formats, or their texts. Loops are followed where they
            have one accumulator; of other orders there is the result.
        c : the accumulator to begin with, first rounded to each model's accumulator format.
        f : the operands' format, to which they are first rounded.

        Returns text as `explain` gives it; `facts` has every step, while the text leaves out the middle of
        long chains. Results are those of ``fp.dot(a, b, c, accumulate=unit)``; `result` is the last one's.
        Raises `ArgumentError` as `matrix_step` does and for random rounding, `UnsupportedError` for formats
        that a unit does not take.

        >>> import fpemu as fp
        >>> told = fp.explain.matrix_chain([1, "2^-24", -1], [1, 1, 1], ["v100", "h100"], f="fp16")
        >>> [chain["result"] for chain in told.facts["chains"]], told.facts["partings"][0]["products"]
        (['0.0', '5.960464477539063e-08'], 3)
        """
        from fpemu.explaining.matrix_steps.chains import explain_chain

        return explain_chain(a, b, units, c, f)


def _operation(op: str, operands: tuple[object, ...], f: object, options: dict) -> Explanation:
    f = as_format(f)
    settings, draw = _arithmetic(options)
    numbers = [number_of(x, f"explain.{op}") for x in operands]
    written = [_written(x) for x in operands]
    told = Operation(op, numbers, written, f, settings, draw)
    shown = f" {SIGNS[op]} ".join(written) if op in SIGNS else f"{op}({', '.join(written)})"
    head = title(f"{shown} in {f.name}", settings)
    return Explanation.of(head, told.sections, told.facts, told.result)


def _arithmetic(options: dict[str, Any]) -> tuple[Arithmetic, Away | None]:
    """The settings, and with a seed the decision that it draws for element 0."""
    for name in options:
        if name not in SETTINGS:
            raise unknown("setting", name, SETTINGS)
    settings = context.current().with_options(**options)
    return settings, None if options.get("seed") is None else settings.chance.away(0)


def _written(x: object) -> str:
    """`x` as the caller would have written it; huge integers and fractions shortened."""
    if isinstance(x, str):
        return x.strip()
    if isinstance(x, (int, Fraction)):
        n, d = x.as_integer_ratio()
        return str(x) if n.bit_length() + d.bit_length() < 200 else expansion(x)
    return str(x) if isinstance(x, Decimal) else repr(x)
