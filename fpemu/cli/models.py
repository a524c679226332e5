"""Accumulation models side by side: what `sum` and `matmul` print with ``--model``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from fpemu import exact, text
from fpemu.formats import Format
from fpemu.reals import is_finite

MOST_TERMS = 2_000_000  # whose exact products and sums take some seconds
HEADER = ["model", "wrong", "worst ulps", "mean ulps", "observed", "sqrt(n)*u", "n*u", "swamped"]


def report(
    models: Sequence[Any], terms: Sequence[Sequence[tuple[Fraction, ...]]], run, n: int
) -> list[dict[str, Any]]:
    """A row for each model: how far its results are from the exact ones.

    `terms` holds the terms of each element of the result, single numbers or pairs to be multiplied;
    ``run(model)`` gives the results as a flat list and the number of swamped additions; `n` is the
    number of terms of each. Errors are in units in the last place of the exact result, and, as
    "observed", relative to the sum of magnitudes, for comparison with the usual bounds: n*u in the
    worst case, sqrt(n)*u where errors are independent, u being half a unit in the last place of 1.
    """
    products = [[math.prod(term, start=Fraction(1)) for term in row] for row in terms]
    sums = [sum(row, Fraction(0)) for row in products]
    sizes = [sum(map(abs, row), Fraction(0)) for row in products]
    rows = []
    for model in models:
        results, swamped = run(model)
        f = model.result_format
        u = Fraction(1, 2**f.precision)
        ulps, relative, wrong = [], [], 0
        for got, want, size in zip(results, sums, sizes, strict=True):
            wrong += got != exact.round_to(want, f)
            if is_finite(got):
                e = max(exact.floor_log2(abs(want)) if want else f.emin, f.emin)
                error = abs(Fraction(got) - want)
                ulps.append(float(error / Fraction(2) ** (e - f.fraction_bits)))
                relative.append(float(error / size) if size else 0.0)
        rows.append(
            {
                "model": str(model),
                "wrong": f"{wrong}/{len(sums)}",
                "worst ulps": _short(max(ulps, default=math.inf)),
                "mean ulps": _short(sum(ulps) / len(ulps) if ulps else math.inf),
                "observed": _short(max(relative, default=math.inf)),
                "sqrt(n)*u": _short(math.sqrt(n) * float(u)),
                "n*u": _short(n * float(u)),
                "swamped": str(swamped),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    return text.table(HEADER, [[row[name] for name in HEADER] for row in rows])


def _short(x: float) -> str:
    return f"{x:.3g}"


def add_models(parser) -> None:
    """Add ``--model``."""
    parser.add_argument(
        "--model",
        action="append",
        metavar="TEXT",
        help='an accumulation model, for example "fp16 kahan"; again for a comparison',
    )


def parsed(texts: list[str], operands: Format | None = None) -> list[Any]:
    """The models that the texts describe; with the format of a product's operands they may be matrix
    units, too."""
    from fpemu.accumulation import Accumulator
    from fpemu.matrix_units import MatrixUnit, is_written

    return [
        MatrixUnit.parse(said).on(operands)
        if operands is not None and is_written(said)
        else Accumulator.parse(said)
        for said in texts
    ]
