"""The table of operations: forward beside backward, each with its own places of rounding.

`products.py` reads operands by role and accumulates; `pointwise.py` and `activations.py` work on
elements, `reductions.py` adds along axes, `shaping.py` moves values, `embedding.py` looks them up and
`dropout.py` drops some; `softmax.py`, `normalization.py` and `batch_norm.py` follow recipes; `losses.py`
and `element_losses.py` end in a scalar. Gradients enter and leave in the "gradients" format, or in the
site's `outputs`; a product reads them in the "gradients" format.
"""

from fpemu.autograd.operations import (
    activations,
    batch_norm,
    dropout,
    element_losses,
    embedding,
    losses,
    normalization,
    pointwise,
    products,
    reductions,
    shaping,
    softmax,
)
from fpemu.autograd.operations.activations import (
    ABSOLUTE,
    GELU,
    GELU_TANH,
    LEAKY_RELU,
    POWER,
    SCALE,
    SILU,
    SOFTPLUS,
)
from fpemu.autograd.operations.batch_norm import BATCH_NORM
from fpemu.autograd.operations.dropout import DROPOUT
from fpemu.autograd.operations.element_losses import BINARY_CROSS_ENTROPY, HUBER, MSE, SMOOTH_L1
from fpemu.autograd.operations.embedding import EMBEDDING
from fpemu.autograd.operations.losses import CROSS_ENTROPY, NLL
from fpemu.autograd.operations.normalization import GROUP_NORM, LAYER_NORM, RMS_NORM
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
from fpemu.autograd.operations.shaping import CONCATENATE, MASKED_FILL, PERMUTE, RESHAPE, TAKE
from fpemu.autograd.operations.softmax import LOG_SOFTMAX, SOFTMAX

TABLE = {
    operation.name: operation
    for module in (
        *(activations, batch_norm, dropout, element_losses, embedding, losses, normalization),
        *(pointwise, products, reductions, shaping, softmax),
    )
    for operation in module.TABLE
}
