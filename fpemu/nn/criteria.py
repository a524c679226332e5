"""The losses of `loss.py` as modules: options first, predictions and targets later."""

from __future__ import annotations

from typing import Any

from fpemu.autograd.operations.reduction import REDUCTIONS
from fpemu.autograd.tensor import Tensor
from fpemu.errors import unknown
from fpemu.nn import loss
from fpemu.nn.module import Module


class _Loss(Module):
    """A loss with its options."""

    place = "loss"
    function: Any

    def __init__(self, reduction: str, **options: Any) -> None:
        if reduction not in REDUCTIONS:
            raise unknown("reduction", reduction, REDUCTIONS)
        self.reduction = reduction
        self.options = {"reduction": reduction, **options}

    def __call__(self, *inputs: object, **options: Any) -> Any:
        return self.forward(*inputs, **options)  # a loss stands at "loss", whoever computes it

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """The loss of predictions and targets."""
        return type(self).function(*inputs, **options, **self.options)

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """`cross_entropy` as a module.

    >>> import numpy as np
    >>> CrossEntropyLoss()(np.zeros((2, 4)), [0, 3]).item()
    1.3862943649291992
    """

    function = staticmethod(loss.cross_entropy)

    def __init__(
        self,
        weight: object = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
        super().__init__(reduction, weight=weight, **options)


class NLLLoss(_Loss):
    """`nll_loss` as a module.

    >>> import numpy as np
    >>> NLLLoss()(np.float32([[-0.5, -1.0]]), [1]).item()
    1.0
    """

    function = staticmethod(loss.nll_loss)

    def __init__(
        self, weight: object = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, weight=weight, ignore_index=ignore_index)


class BCEWithLogitsLoss(_Loss):
    """`binary_cross_entropy_with_logits` as a module.

    >>> import numpy as np
    >>> BCEWithLogitsLoss()(np.float32([0.0]), [1.0]).item()
    0.6931471824645996
    """

    function = staticmethod(loss.binary_cross_entropy_with_logits)

    def __init__(
        self, weight: object = None, *, reduction: str = "mean", pos_weight: object = None
    ) -> None:
        super().__init__(reduction, weight=weight, pos_weight=pos_weight)


class MSELoss(_Loss):
    """`mse_loss` as a module.

    >>> import numpy as np
    >>> MSELoss()(np.float32([1, 2]), np.float32([1, 4])).item()
    2.0
    """

    function = staticmethod(loss.mse_loss)

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)


class HuberLoss(_Loss):
    """`huber_loss` as a module.

    >>> import numpy as np
    >>> HuberLoss()(np.float32([1, 2]), np.float32([1, 4])).item()
    0.75
    """

    function = staticmethod(loss.huber_loss)

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction, delta=delta)


class SmoothL1Loss(_Loss):
    """`smooth_l1_loss` as a module.

    >>> import numpy as np
    >>> SmoothL1Loss()(np.float32([1, 2]), np.float32([1, 4])).item()
    0.75
    """

    function = staticmethod(loss.smooth_l1_loss)

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction, beta=beta)
