"""`gemm`: a matrix product as libraries run it, with the epilogue that scales and adds at the end."""

from __future__ import annotations

from typing import Any

from fpemu import context
from fpemu.arrays import Array, array, asarray
from fpemu.errors import ArgumentError
from fpemu.formats import as_format
from fpemu.linalg.options import Model, model_of_products
from fpemu.linalg.products import matmul


def gemm(
    a: object,
    b: object,
    c: object = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    accumulate: object = "h100 mma",
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """``alpha * (a @ b) + beta * c`` as BLAS libraries compute it: the sum starts at zero, and the rest
    happens once, in the accumulator's format, when it has ended.

    Parameters
    ----------
    a, b : array_like, shapes as `fpemu.matmul` takes them.
    c : array_like of the result's shape, of any format; not looked at where `beta` is 0.
    alpha, beta : numbers, rounded to the accumulator's format. With 1 there is nothing to multiply.
    accumulate, order, product : as `fpemu.matmul`; a matrix unit whose option `split` or `promote` is
        set runs its main loop as libraries do.
    out : the result's format, by default that of `a`.

    Each multiplication, the addition and the conversion to `out` rounds once, to nearest even whatever
    `arithmetic` is in force. Whether hardware libraries fuse beta * c with the addition is not known:
    here it is rounded. Returns an `Array`; NaN, infinities and zeros as IEEE 754 has it.
    Raises `ArgumentError` for shapes that do not fit and for a `beta` without `c`.

    Source: measurements of cuBLASLt 13.1 on H100 (facebookexperimental/triton, bitequiv); NVIDIA cuBLAS
    documentation of cublasLtMatmul.

    >>> import fpemu as fp
    >>> a = fp.array([[1.0, 2.0]], "fp16")
    >>> gemm(a, a.T, fp.array([[8.0]], "fp16"), alpha=2.0, beta=0.5)
    fp.array([[14.0]], fp.FP16)
    """
    a, b = asarray(a), asarray(b)
    model: Model = model_of_products(accumulate, order, product, a.format, b.format)
    f = model.result_format
    if c is None and beta != 0:
        raise ArgumentError(f"beta={beta!r} needs c; leave beta=0 without one")
    total = matmul(a, b, accumulate=model, out=f)
    usual: dict[str, Any] = {
        "rounding": "nearest_even",
        "saturation": "none",
        "subnormals": "gradual",
    }
    with context.arithmetic(**usual):
        if alpha != 1:
            total = total * array(alpha, f)
        if beta != 0:
            given = asarray(c)
            if given.shape != total.shape:
                raise ArgumentError(
                    f"c must have the result's shape {total.shape}, got {given.shape}"
                )
            addend = given.astype(f)
            total = total + (addend if beta == 1 else addend * array(beta, f))
        return total.astype(a.format if out is None else as_format(out))
