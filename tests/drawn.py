"""Matrices of codes that hypothesis draws: one kind of numbers, with any codes put in here and there."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from fpemu.carriers import code_dtype
from fpemu.convert import decode
from fpemu.verify import units


def edges(f) -> list[int]:
    """The codes at which formats differ, of both signs."""
    one = f._bias << f.fraction_bits
    sign = 1 << (f.bits - 1)
    least = [0, 1, 2, f.max_code, one, one + 1, 1 << f.fraction_bits, (1 << f.fraction_bits) - 1]
    return [code | s for code in least for s in (0, sign)]


def codes(f):
    """Any code of a format, the edges often."""
    return st.one_of(st.integers(0, 2**f.bits - 1), st.sampled_from(edges(f)))


def values(data, f, shape) -> np.ndarray:
    """Values of `f` in its carrier."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    drawn = units.random_codes(rng, f, shape, data.draw(st.sampled_from(units.KINDS))).reshape(-1)
    if drawn.size:
        places = st.integers(0, drawn.size - 1)
        for place, code in data.draw(st.dictionaries(places, codes(f), max_size=8)).items():
            drawn[place] = code
    return decode(drawn.astype(code_dtype(f)).reshape(shape), f)


def same(got, want) -> bool:
    """Equal with their signs, or both NaN."""
    return (np.isnan(got) and np.isnan(want)) or (
        float(got) == float(want) and np.signbit(got) == np.signbit(float(want))
    )
