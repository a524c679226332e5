"""One layer of a Transformer encoder."""

from __future__ import annotations

from collections.abc import Callable

from fpemu.autograd.tensor import Tensor
from fpemu.errors import unknown
from fpemu.nn.activation import GELU, ReLU
from fpemu.nn.attention import MultiheadAttention
from fpemu.nn.dropout import Dropout
from fpemu.nn.linear import Linear
from fpemu.nn.module import Module
from fpemu.nn.normalization import LayerNorm


class TransformerEncoderLayer(Module):
    """Self-attention and two linear layers, each with dropout, a residual and a layer norm.

    With ``norm_first`` the norm comes before each of both, x + f(norm(x)), else after the sum,
    norm(x + f(x)). Inputs and masks as `MultiheadAttention`, whose places stand below .self_attn; the
    other modules, with PyTorch's names and keys, are linear1, dropout, linear2, norm1, norm2, dropout1
    and dropout2; the residual sums stand at .add and .add_2, the activation ("relu", "gelu" or a
    function of tensors) at .activation. Given a causal mask it is a layer of a decoder like GPT's.

    >>> import numpy as np
    >>> layer = TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    >>> layer(np.zeros((2, 5, 8), np.float32), is_causal=True).shape
    (2, 5, 8)
    """

    place = "encoder_layer"

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Module | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        if isinstance(activation, str):
            known: dict[str, type[Module]] = {"relu": ReLU, "gelu": GELU}
            if activation not in known:
                raise unknown("activation", activation, known)
            activation = known[activation]()
        self.activation = activation

    def forward(
        self,
        src: Tensor,
        src_mask: object = None,
        src_key_padding_mask: object = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The layer's output, of the shape of `src`."""

        def attention(x: Tensor) -> Tensor:
            y, _ = self.self_attn(
                *(x, x, x),
                key_padding_mask=src_key_padding_mask,
                need_weights=False,
                attn_mask=src_mask,
                is_causal=is_causal,
            )
            return self.dropout1(y)

        def feed_forward(x: Tensor) -> Tensor:
            hidden = self.dropout(self.activation(self.linear1(x)))
            return self.dropout2(self.linear2(hidden))

        x = src
        if self.norm_first:
            x = x + attention(self.norm1(x))
            return x + feed_forward(self.norm2(x))
        x = self.norm1(x + attention(x))
        return self.norm2(x + feed_forward(x))
