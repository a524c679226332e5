"""What other accumulation models make of the same terms: each of them computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from fpemu import accumulation, exact
from fpemu.accumulation import Accumulator
from fpemu.arrays import Array
from fpemu.carriers import carrier_dtype
from fpemu.chance import Chance
from fpemu.errors import ArgumentError
from fpemu.exact.accumulation import Observer
from fpemu.formats import FP32, FP64, Format
from fpemu.linalg.options import finish
from fpemu.reals import Number, Real

# Beyond this many terms only what the kernels sum, and the exact sum, are compared.
MOST_TERMS = 1 << 14


def others(model: Accumulator) -> list[Accumulator]:
    """The models that are worth a comparison with `model`, settings and seed alike.

    >>> [str(m) for m in others(Accumulator("fp16"))]
    ['fp16 pairwise', 'fp16 blocked:64', 'fp16 kahan', 'fp32 sequential', 'fp16 exact']
    """
    plain = without(model, "product", "promote", "round_every", "correction")
    plain = replace(plain, order="sequential")
    f = model.format
    wide = FP32 if f.precision < FP32.precision and f != FP32 else FP64
    found = [
        *(replace(plain, order=order) for order in ("sequential", "pairwise", "blocked:64")),
        *([replace(plain, order="kahan")] if f.has_zero and f.signed else []),
        *([replace(plain, format=wide)] if f.precision < FP64.precision else []),
        replace(plain, order="exact"),
    ]
    return [other for other in found if other != model]


def without(model: Accumulator, *names: str) -> Accumulator:
    """The model with these options left open."""
    options: dict[str, Any] = dict.fromkeys(names)
    return replace(model, **options)


def computed(
    models: list[Accumulator], x: Array, start: Number | None, out: Format
) -> Iterator[tuple[Accumulator, Real | str]]:
    """Each model's sum of `x`, rounded to `out`; where there is none, why not."""
    for model in models:
        begin = None if start is None else exact.round_to(start, model.result_format)
        fits = x.format.fits_float64 and model.format.fits_float64
        try:
            if fits:
                yield model, by_arrays(model, x, begin, out)
            elif x.size <= MOST_TERMS:
                yield model, rounded(by_steps(model, x, begin), model, x.format, out)
            else:
                yield model, f"left out beyond {MOST_TERMS} terms"
        except ArgumentError:
            yield model, f"none: it comes to NaN, which {out.name} has not"


def by_arrays(model: Accumulator, x: Array, begin: Real | None, out: Format) -> Real:
    """The sum as `fp.sum` computes it."""
    dtype = carrier_dtype(model.result_format)
    start = None if begin is None else np.array([[begin]], dtype)
    formats = (x.format, x.format)
    total = accumulation.accumulate(None, x._values[:, None], formats, model, start, op="sum")
    return finish(total, model, x.format, out).to_numpy().item()


def by_steps(
    model: Accumulator, x: Array, begin: Real | None, observe: Observer | None = None
) -> Real:
    """The sum by the exact reference, in the accumulator's format, every step observed."""
    from fpemu.exact.accumulation import accumulate

    f, chance = x.format, Chance(model.seed or 0, model.random_bits or 24)
    return accumulate(
        [((value, f),) for value in x._values.tolist()],
        model,
        None if begin is None else (begin, model.result_format),
        decide=(lambda n: chance.derived(n).away(0)) if model.rounding == "stochastic" else None,
        observe=observe,
    )


def rounded(total: Real, model: Accumulator, own: Format, out: Format | None) -> Real:
    """A sum in the accumulator's format as `fp.sum` returns it."""
    whole = np.array(total, carrier_dtype(model.result_format))
    return finish(whole, model, own, out).to_numpy().item()
