"""What decides a run's bits, as plain data: a run that goes on must say the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from fpemu.data.dataset import Dataset
from fpemu.errors import ArgumentError, FpemuError
from fpemu.nn.loss import cross_entropy
from fpemu.optim import Optimizer
from fpemu.policy import Policy

if TYPE_CHECKING:
    from fpemu.training.run import Run


def settings_of(run: Run) -> dict[str, Any]:
    """Policy, data, numbers and functions of a run before its first step.

    Functions count by their names: what they hold is not looked into. Raises `ArgumentError` if the run
    is to be kept and its policy is one that text cannot say.
    """
    if run.checkpoint is not None:
        _check_policy(run.policy)
    options = {
        f"optimizer's {k}" + (f" (group {i})" if i else ""): said(v)
        for i, group in enumerate(groups_of(run.optimizer))
        for k, v in group.items()
    }
    return {
        "policy": str(run.policy),
        "seed": run.seed,
        "batch size": run.batch_size,
        "micro-batches": run.micro_batches,
        "loss": said(run.loss or cross_entropy),
        "loss weight": float(run.loss_weight),
        "steps between those that are counted": run.watch,
        "schedule": said(run.schedule),
        "norm to clip at": said(run.clip_norm),
        "optimizer": type(run.optimizer).__name__,
        **options,
        "scaler": None if run.scaler is None else type(run.scaler).__name__,
        "data": checksum(run.data) if run.checkpoint is not None else None,
    }


def _check_policy(policy: Policy) -> None:
    try:
        same = Policy.parse(str(policy)) == policy
    except FpemuError:
        same = False
    if not same:
        raise ArgumentError(
            f"a checkpoint keeps the policy as text, and {str(policy)!r} does not say it: formats of one's "
            "own have no names there"
        )


def groups_of(optimizer: Any) -> list[dict[str, Any]]:
    """The numbers and words that set an optimizer, of each group of parameters."""
    groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else [vars(optimizer)]
    plain = (bool, int, float, str, tuple)
    return [
        {k: v for k, v in group.items() if k[0] != "_" and isinstance(v, plain)} for group in groups
    ]


def said(value: object) -> str | int | float | None:
    """A setting as it can be kept and compared: functions by name, all else as it prints."""
    if value is None or isinstance(value, (int, float, str)):
        return value
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    printed = repr(value)
    return type(value).__name__ if " at 0x" in printed else printed


def checksum(data: Dataset) -> str:
    """128 bits of hash over all rows, their shapes and dtypes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (data.train_x, data.train_y, data.test_x, data.test_y):
        digest.update(f"{part.shape}{part.dtype}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
