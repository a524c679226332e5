"""Multi-head attention, composed of operations that each have a place of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fpemu.autograd.operations import LINEAR, MASKED_FILL, MATMUL, MEAN, SCALE, SOFTMAX
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.nn import init
from fpemu.nn.arguments import filled, number, size
from fpemu.nn.dropout import Dropout
from fpemu.nn.linear import Linear
from fpemu.nn.module import Module


class MultiheadAttention(Module):
    """softmax(q k^T / sqrt(d)) v for each head, with q, k and v linear in query, key and value.

    `embed_dim` is divided among `num_heads`. Inputs are (L, N, E) and (S, N, E), with ``batch_first``
    (N, L, E) and (N, S, E), without a batch (L, E) and (S, E). ``layer(query, key, value)`` gives the
    output, of the shape of the query, and the weights, averaged over the heads (None with
    ``need_weights=False``). `attn_mask`, (L, S) or (N heads, L, S), and `key_padding_mask`, (N, S),
    are True where nothing is looked at, or numbers that are added; `is_causal` masks what comes later.
    A masked score is -infinity (the lowest number in formats without it); a row that is masked
    entirely is NaN, as in PyTorch.

    Places below that of the layer: in_proj (q_proj, k_proj and v_proj unless all three inputs are one),
    scale (q / sqrt(d), one rounding), scores (the product q k^T), mask (where numbers are added), softmax,
    dropout, values (the product with v), out_proj, average (of the weights). Parameters have PyTorch's
    keys and shapes: in_proj_weight (3 E, E), in_proj_bias, out_proj.weight, out_proj.bias. Raises
    `ArgumentError` for shapes that do not fit.

    >>> layer = MultiheadAttention(4, 2, batch_first=True)
    >>> x = Tensor(np.ones((1, 3, 4), np.float32))
    >>> y, weights = layer(x, x, x, is_causal=True)
    >>> y.shape, weights.data.tolist()[0][0]
    ((1, 3, 4), [1.0, 0.0, 0.0])
    """

    place = "attention"

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        batch_first: bool = False,
    ) -> None:
        self.embed_dim = size("MultiheadAttention", "embed_dim", embed_dim)
        self.num_heads = size("MultiheadAttention", "num_heads", num_heads)
        if self.embed_dim % self.num_heads:
            raise ArgumentError(
                f"MultiheadAttention's {num_heads} heads do not divide embed_dim {embed_dim}"
            )
        p = number("MultiheadAttention", "dropout", dropout, 0.0, 1.0)
        self.batch_first = batch_first
        self.in_proj_weight = filled((3 * self.embed_dim, self.embed_dim), 0.0)
        init.xavier_uniform_(self.in_proj_weight)
        self.in_proj_bias = filled((3 * self.embed_dim,), 0.0) if bias else None
        self.out_proj = Linear(self.embed_dim, self.embed_dim, bias)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        self.dropout = Dropout(p)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: object = None,
        need_weights: bool = True,
        attn_mask: object = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output and the weights."""
        self._check(query, key, value)
        alone, width = query.ndim == 2, self.embed_dim // self.num_heads
        q, k, v = (self._heads(x, alone) for x in self._projected(query, key, value))
        scaled = SCALE(q, factor=1 / math.sqrt(width), place=f"{self.place}.scale")
        scores = MATMUL(scaled, k.T, place=f"{self.place}.scores")  # (N, heads, L, S)
        scores = self._masked(scores, attn_mask, key_padding_mask, is_causal)
        weights = self.dropout(SOFTMAX(scores, place=f"{self.place}.softmax"))
        y = MATMUL(weights, v, place=f"{self.place}.values")
        y = self.out_proj(self._together(y, alone))
        if not need_weights:
            return y, None
        if average_attn_weights:
            weights = self._average(weights)
        return y, weights[0] if alone else weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        shapes = [x.shape for x in (query, key, value)]
        batch = 0 if self.batch_first else 1
        fit = query.ndim in (2, 3) and {x.ndim for x in (query, key, value)} == {query.ndim}
        fit = fit and all(s[-1] == self.embed_dim for s in shapes) and shapes[1] == shapes[2]
        if not fit or (query.ndim == 3 and shapes[0][batch] != shapes[1][batch]):
            order = "(N, L, E)" if self.batch_first else "(L, N, E)"
            raise ArgumentError(
                f"{self.place}: query, key and value must be {order} or (L, E) with E = "
                f"{self.embed_dim}, key and value alike, got {', '.join(map(str, shapes))}"
            )

    def _projected(self, *inputs: Tensor) -> list[Tensor]:
        """q, k and v: by one product if the inputs are one, else by three."""
        size_, weight, bias = self.embed_dim, self.in_proj_weight, self.in_proj_bias
        if inputs[0] is inputs[1] is inputs[2]:
            beside = () if bias is None else (bias,)
            joined = LINEAR(inputs[0], weight, *beside, place=f"{self.place}.in_proj")
            return [joined[..., i * size_ : (i + 1) * size_] for i in range(3)]
        out = []
        for i, (name, x) in enumerate(zip("qkv", inputs, strict=True)):
            part = slice(i * size_, (i + 1) * size_)
            beside = () if bias is None else (bias[part],)
            out.append(LINEAR(x, weight[part], *beside, place=f"{self.place}.{name}_proj"))
        return out

    def _heads(self, x: Tensor, alone: bool) -> Tensor:
        """As (N, heads, length, width)."""
        if alone:
            x = x.reshape(1, *x.shape)
        elif not self.batch_first:
            x = x.permute(1, 0, 2)
        return x.reshape(*x.shape[:2], self.num_heads, -1).permute(0, 2, 1, 3)

    def _together(self, y: Tensor, alone: bool) -> Tensor:
        y = y.permute(0, 2, 1, 3)
        y = y.reshape(*y.shape[:2], self.embed_dim)
        if alone:
            return y[0]
        return y if self.batch_first else y.permute(1, 0, 2)

    def _masked(self, scores: Tensor, attn: Any, padding: Any, causal: bool) -> Tensor:
        masks = []
        n, heads, length, keys = scores.shape
        if attn is not None:
            attn = np.asarray(attn)
            whole = attn.ndim == 3
            masks.append(attn.reshape(n, heads, length, keys) if whole else attn[None, None])
        if padding is not None:
            masks.append(np.asarray(padding).reshape(n, 1, 1, keys))
        if causal:
            masks.append(np.triu(np.ones((length, keys), bool), 1))
        for mask in masks:
            if mask.dtype == bool:
                scores = MASKED_FILL(scores, mask=mask, value=-math.inf)
            elif not np.isin(mask, (0.0, -math.inf)).all():
                scores = scores + mask
            else:  # a mask of PyTorch's in numbers
                scores = MASKED_FILL(scores, mask=mask != 0, value=-math.inf)
        return scores

    def _average(self, weights: Tensor) -> Tensor:
        return MEAN(weights, place=f"{self.place}.average", axis=1)

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}"
