"""Embedding: rows of a table by their numbers.

Places: forward/weight (the working copy of the rows that are used, each once, so that a row that is
used twice is rounded at random once), forward/output; weight_grad/sum, weight_grad/output.

The gradient of a row is the sum, from +0 on, of the gradients of its uses, in the order in which the
numbers stand in C order: every addition is rounded to the format in which gradients are handed on
(or by the model that the policy gives for weight_grad/sum) and counted. That of an unused row is +0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.carriers import carrier_dtype
from fpemu.errors import ArgumentError

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


def _embedding(
    site: Site, weight: Array, *, indices: np.ndarray, padding_idx: int | None = None
) -> tuple[Array, Any]:
    indices = np.asarray(indices)
    rows = len(weight)
    if indices.dtype.kind not in "iu":
        raise ArgumentError(f"{site.place}: embedding takes integers, got {indices.dtype}")
    if indices.size and not 0 <= indices.min() <= indices.max() < rows:
        bad = indices[(indices < 0) | (indices >= rows)].flat[0]
        raise ArgumentError(f"{site.place}: number {bad} is out of range; allowed: 0 to {rows - 1}")
    used, inverse = np.unique(indices, return_inverse=True)
    copies = site.hand_on(Array(weight._values[used], weight.format), "weights", "forward/weight")
    shape = (*indices.shape, *weight.shape[1:])
    y = Array(copies._values[inverse.reshape(-1)].reshape(shape), copies.format)
    y = site.hand_on(y, "activations", "forward/output")
    return y, (indices.reshape(-1), weight.shape, padding_idx)


def _embedding_backward(site: Site, saved: Any, gradient: Array, needed: Needed) -> Gradients:
    indices, shape, padding_idx = saved
    rule = site.rule("gradients", "weight_grad/sum", result=True)
    g = gradient._values.reshape(len(indices), -1)
    format_ = site.accumulator(rule, "weight_grad/sum").result_format if rule.model else rule.format
    total = np.zeros((shape[0], g.shape[1]), carrier_dtype(format_))
    # Stable: the uses of a row stay in order. Rows with equally many uses are added side by side.
    order = np.argsort(indices, kind="stable")
    used, first, uses = np.unique(indices[order], return_index=True, return_counts=True)
    for count in np.unique(uses):
        chosen = (uses == count) & (used != (-1 if padding_idx is None else padding_idx))
        if not chosen.any():
            continue
        terms = g[order[first[chosen] + np.arange(count)[:, None]]]  # (count, rows, width)
        columns = terms.reshape(count, -1)
        added = site.columns_added(columns, gradient.format, rule, "gradients", "weight_grad/sum")
        total[used[chosen]] = added._values.reshape(-1, g.shape[1])
    handed = site.hand_on(Array(total.reshape(shape), format_), "gradients", "weight_grad/output")
    return (handed,)


EMBEDDING = Operation("embedding", _embedding, _embedding_backward)

TABLE = (EMBEDDING,)
