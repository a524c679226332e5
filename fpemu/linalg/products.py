"""`dot`, `matmul` and `einsum`: products, and their sums by an accumulation model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.carriers import carrier_dtype
from fpemu.errors import ArgumentError
from fpemu.linalg.options import filled, finish, model_of_products, nth_of, run
from fpemu.matrix_units import Instruction


def matmul(
    a: object,
    b: object,
    c: object = None,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The matrix product ``c + a @ b``, every product and every partial sum rounded.

    Parameters
    ----------
    a, b : array_like of one format (E4M3 and E5M2 may meet in matrix units), shapes as `numpy.matmul` takes them: (..., m, k) and
        (..., k, n), or 1-d; leading axes broadcast.
    c : initial accumulator, array_like of the result's shape; rounded to the accumulator's
        format if it is wider. By default +0.
    accumulate : format of the accumulator, by default that of `a` and `b`; or an `Accumulator`, or
        its text, which says all of this at once; or a matrix unit, or its text ("h100 wgmma"): see
        `fpemu.matrix_unit`. That pads k with zeros to whole instructions, its results stay in its
        own accumulator's format unless `out` says otherwise, and no `arithmetic` changes its bits.
    order : in which order the products are added and how: "sequential", "pairwise", "blocked:64",
        "kahan", "neumaier", "exact", "permuted:7" ...; see `fpemu.accumulation.model`.
    product : None: each product is rounded to the accumulator's format before it is added; "exact":
        not rounded (fused multiply-add); or another format to which it is rounded.
    out : format of the result, by default that of `a` and `b`; one final rounding.

    Returns an `Array`. NaN, infinities and overflow as IEEE 754 and the format's own rule. With random
    rounding the n-th matrix of a batch draws from a seed derived from the model's and n.
    Raises `ArgumentError` for mixed formats, shapes that do not fit, unknown format or order.

    >>> a = np.ones((1, 4096), np.float16)
    >>> float(matmul(a, a.T)[0, 0]), float(matmul(a, a.T, accumulate="fp32")[0, 0])
    (2048.0, 4096.0)
    >>> matmul(a, a.T, accumulate="h100 mma")
    fp.array([[4096.0]], fp.FP32)
    """
    a, b = asarray(a), asarray(b)
    if 0 in (a.ndim, b.ndim):
        raise ArgumentError("matmul takes arrays of at least one dimension; use * for scalars")
    model = model_of_products(accumulate, order, product, a.format, b.format)
    if a.format != b.format and not isinstance(model, Instruction):
        raise ArgumentError(
            f"matmul of {a.format.name} and {b.format.name}: operands must share a format; cast "
            f"one of them, for example b.astype({a.format.name!r})"
        )
    accumulator = model.result_format
    left, right, batch, tail = _as_matrices(a._values, b._values)
    shape = (*batch, *tail)
    model = filled(model) if batch else model  # one operation, of one seed
    start = None
    if c is not None:
        given = asarray(c)
        if given.shape != shape:
            raise ArgumentError(f"c must have the result's shape {shape}, got {given.shape}")
        start = given.astype(accumulator)._values
        start = start.reshape(*batch, left.shape[-2], right.shape[-1])
    result = np.empty((*batch, left.shape[-2], right.shape[-1]), carrier_dtype(accumulator))
    for number, i in enumerate(np.ndindex(batch)):
        begin = None if start is None else start[i]
        each = nth_of(model, number) if batch else model
        result[i] = run(left[i], right[i], (a.format, b.format), each, begin)
    return finish(result.reshape(shape), model, a.format, out)


def dot(a: object, b: object, c: object = None, **options) -> Array:
    """The dot product of two vectors, or `matmul` for matrices; same options as `matmul`.

    >>> float(dot([1.0, 2.0], [3.0, 4.0]))
    11.0
    """
    a, b = asarray(a), asarray(b)
    if a.ndim > 2 or b.ndim > 2 or 0 in (a.ndim, b.ndim):
        raise ArgumentError(f"dot takes 1-d and 2-d operands, got {a.ndim}-d and {b.ndim}-d")
    return matmul(a, b, c, **options)


def einsum(subscripts: str, a: object, b: object, **options) -> Array:
    """The contraction of two arrays that `subscripts` says, as `numpy.einsum`: "bik,bkj->bij".

    Every index is one letter. Indices of both operands that are not in the result are summed over,
    those of `a` in its order (the last one fastest); `options` are those of `matmul`, which does it.
    Raises `ArgumentError` for subscripts that repeat an index in one operand, or sum over an index of
    only one.

    >>> x = np.float16([[1.0, 2.0], [3.0, 4.0]])
    >>> einsum("ij,kj->ik", x, x).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """
    if options.get("c") is not None:
        raise ArgumentError("einsum takes no initial accumulator c; add it to the result")
    a, b = asarray(a), asarray(b)
    left, right, wanted = _subscripts(subscripts, a, b)
    batch = [i for i in left if i in right and i in wanted]
    summed = [i for i in left if i in right and i not in wanted]
    rows = [i for i in left if i not in right]
    columns = [i for i in right if i not in left]
    lost = [i for i in (*rows, *columns) if i not in wanted]
    if lost:
        raise ArgumentError(
            f"einsum {subscripts!r} sums over {', '.join(lost)} of one operand alone; use fp.sum first"
        )
    size = dict(zip((*left, *right), (*a.shape, *b.shape), strict=True))

    def arranged(x: Array, own: Sequence[str], *groups: Sequence[str]) -> Array:
        moved = x.transpose([own.index(i) for group in groups for i in group])
        joined = [int(np.prod([size[i] for i in group], dtype=int)) for group in groups[1:]]
        return moved.reshape((*(size[i] for i in groups[0]), *joined))

    x, y = arranged(a, left, batch, rows, summed), arranged(b, right, batch, summed, columns)
    product = matmul(x, y, **options)
    order = (*batch, *rows, *columns)
    shaped = product.reshape(tuple(size[i] for i in order))
    return shaped.transpose([order.index(i) for i in wanted])


def _subscripts(subscripts: str, a: Array, b: Array) -> tuple[list[str], list[str], list[str]]:
    inputs, arrow, output = str(subscripts).replace(" ", "").partition("->")
    operands = inputs.split(",")
    if len(operands) != 2 or not all(part.isalpha() for part in operands if part):
        raise ArgumentError(
            f"einsum takes two operands and letters, as 'ij,jk->ik', got {subscripts!r}"
        )
    left, right = map(list, operands)
    if not arrow:  # as NumPy: what appears once, in the order of the alphabet
        output = "".join(sorted(i for i in {*left, *right} if (left + right).count(i) == 1))
    wanted = list(output)
    for name, indices, shape in (("first", left, a.shape), ("second", right, b.shape)):
        if len(set(indices)) != len(indices):
            raise ArgumentError(f"einsum {subscripts!r} repeats an index in its {name} operand")
        if len(indices) != len(shape):
            raise ArgumentError(
                f"einsum {subscripts!r} has {len(indices)} indices for a {name} operand of "
                f"{len(shape)} dimensions"
            )
    if len(set(wanted)) != len(wanted) or not set(wanted) <= {*left, *right}:
        raise ArgumentError(f"einsum {subscripts!r} asks for an index twice, or for an unknown one")
    for i in set(left) & set(right):
        sizes = a.shape[left.index(i)], b.shape[right.index(i)]
        if sizes[0] != sizes[1]:
            raise ArgumentError(f"einsum {subscripts!r}: index {i!r} has lengths {sizes}")
    return left, right, wanted


def _as_matrices(a: np.ndarray, b: np.ndarray):
    """Operands as stacks of matrices that broadcast, the batch shape and the result's tail."""
    tail = (() if a.ndim == 1 else (a.shape[-2],)) + (() if b.ndim == 1 else (b.shape[-1],))
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ArgumentError(
            f"matmul of shapes {a.shape} and {b.shape}: the last axis of a ({left.shape[-1]}) "
            f"must equal the last but one of b ({right.shape[-2]})"
        )
    try:
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise ArgumentError(
            f"matmul of shapes {a.shape} and {b.shape}: leading axes do not broadcast"
        ) from None
    left = np.broadcast_to(left, (*batch, *left.shape[-2:]))
    right = np.broadcast_to(right, (*batch, *right.shape[-2:]))
    return left, right, batch, tail
