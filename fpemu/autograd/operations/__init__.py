"""The table of operations: forward beside backward, each with its own places of rounding.

`products.py` and `convolution.py` read operands by role and accumulate, `pooling.py` takes windows of
images, `pointwise.py` works on elements, `reductions.py`
adds along axes, `shaping.py` moves values, `losses.py` ends in a scalar. Gradients enter and leave in
the "gradients" format, or in the site's `outputs`; a product reads them in the "gradients" format.
"""

from fpemu.autograd.operations import (
    convolution,
    losses,
    pointwise,
    pooling,
    products,
    reductions,
    shaping,
)
from fpemu.autograd.operations.convolution import CONV1D, CONV2D, CONV_TRANSPOSE2D
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
from fpemu.autograd.operations.pooling import (
    ADAPTIVE_AVG_POOL2D,
    ADAPTIVE_MAX_POOL2D,
    AVG_POOL1D,
    AVG_POOL2D,
    MAX_POOL1D,
    MAX_POOL2D,
)
from fpemu.autograd.operations.products import LINEAR, MATMUL
from fpemu.autograd.operations.reductions import MEAN, SUM
from fpemu.autograd.operations.shaping import CONCATENATE, PERMUTE, RESHAPE, TAKE

TABLE = {
    operation.name: operation
    for module in (products, convolution, pooling, pointwise, reductions, shaping, losses)
    for operation in module.TABLE
}
