"""Sums, products, convolutions and normalizations of Arrays, every rounding placed by an accumulation model."""

from fpemu.linalg.convolution import conv1d, conv2d, conv_transpose2d
from fpemu.linalg.convolution_gradients import (
    conv1d_input,
    conv1d_weight,
    conv2d_input,
    conv2d_weight,
    conv_transpose2d_input,
    conv_transpose2d_weight,
)
from fpemu.linalg.epilogue import gemm
from fpemu.linalg.exponentials import (
    log_softmax,
    log_softmax_grad,
    logsumexp,
    softmax,
    softmax_grad,
)
from fpemu.linalg.normalization import layer_norm, rms_norm
from fpemu.linalg.normalization_gradients import layer_norm_grad, rms_norm_grad
from fpemu.linalg.products import dot, einsum, matmul
from fpemu.linalg.reductions import cumsum, mean, norm, sum, var
from fpemu.linalg.scaled_products import scaled_matmul
