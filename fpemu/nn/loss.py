"""Losses: functions from predictions and targets to a scalar tensor."""

from __future__ import annotations

import numpy as np

from fpemu.autograd.operations import CROSS_ENTROPY
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError


def cross_entropy(logits: Tensor, targets: object) -> Tensor:
    """The mean over the batch of -log softmax(logits)[target], in the policy's loss format.

    `logits` is (batch, classes), `targets` integers (batch,). The largest logit of each row is
    subtracted first; every operation is rounded, at places under ``loss/``. NaN or infinite
    logits give NaN. Raises `ArgumentError` for shapes or targets that do not fit.

    >>> cross_entropy(np.zeros((2, 4)), [0, 3]).item()  # log 4 in FP32
    1.3862943649291992
    """
    logits = logits if isinstance(logits, Tensor) else Tensor(logits)
    targets = np.asarray(targets)
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise ArgumentError(
            f"targets must be a 1-d array of integers, got {targets.ndim}-d {targets.dtype}"
        )
    return CROSS_ENTROPY(logits, place="loss", targets=targets)
