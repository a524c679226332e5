"""Sums, products and convolutions of Arrays, every rounding placed by an accumulation model."""

from fpemu.linalg.convolution import conv1d, conv2d, conv_transpose2d
from fpemu.linalg.products import dot, einsum, matmul
from fpemu.linalg.reductions import cumsum, mean, norm, sum, var
