"""The table of operations: forward beside backward, each with its own places of rounding.

`products.py` reads operands by role and accumulates, `pointwise.py` works on elements, `reductions.py`
adds along axes, `shaping.py` moves values, `losses.py` ends in a scalar. Gradients enter and leave in
the "gradients" format, or in the site's `outputs`; a product reads them in the "gradients" format.
"""

from fpemu.autograd.operations import losses, pointwise, products, reductions, shaping
from fpemu.autograd.operations.losses import CROSS_ENTROPY
from fpemu.autograd.operations.pointwise import (
    ADD,
    DIVIDE,
    EXP,
    LOG,
    MULTIPLY,
    NEGATE,
    RELU,
    SIGMOID,
    SQRT,
    SUBTRACT,
    TANH,
)
from fpemu.autograd.operations.products import LINEAR, MATMUL
from fpemu.autograd.operations.reductions import MEAN, SUM
from fpemu.autograd.operations.shaping import CONCATENATE, PERMUTE, RESHAPE, TAKE

TABLE = {
    operation.name: operation
    for module in (products, pointwise, reductions, shaping, losses)
    for operation in module.TABLE
}
