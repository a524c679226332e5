"""The specification as code: every operation on one number, in Python integers and Fractions.

Slow and readable on purpose. Nothing here shares code with the kernels; tests, `verify` and
`explain` hold the kernels against it. A value travels as a Python float, which holds every
number of every format exactly, together with the two zeros, the infinities and NaN.
"""

from fpemu.exact.chance import philox, random_integer, rounds_away_by_chance
from fpemu.exact.codes import decode, encode, written_bits
from fpemu.exact.decimals import shortest
from fpemu.exact.flags import (
    FLAGS,
    TININESS,
    cancelled_bits,
    flags_of_operation,
    flags_of_rounding,
)
from fpemu.exact.operations import (
    FUNCTIONS,
    OPERANDS,
    OPERATIONS,
    add,
    compute,
    divide,
    dot,
    exact_result,
    fma,
    multiply,
    sqrt,
    subtract,
    total,
)
from fpemu.exact.rounding import (
    below_range_of,
    floor_log2,
    infinity_of,
    nan_of,
    overflow_of,
    read_operand,
    round_to,
    rounds_away,
)
