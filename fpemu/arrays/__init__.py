"""Arrays whose values belong to one format; NumPy's functions on them, each right or refused."""

from fpemu.arrays.definition import Array, array, asarray
from fpemu.arrays.operations import (
    compute,
    erf,
    flags_of,
    fma,
    remainder,
    round_to_integer,
    rsqrt,
    sigmoid,
)
from fpemu.arrays.storage import load, save
