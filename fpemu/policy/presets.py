"""Named policies: each a few words of data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fpemu.formats import BF16, E4M3, E5M2, FP16, FP32, FP64, TF32
from fpemu.policy.policy import Policy


def _uniform(f, **changes) -> Policy:
    roles = ("weights", "activations", "gradients", "accumulate", "loss")
    return Policy(**{**dict.fromkeys(roles, f), **changes})


def _mixed(f, **changes) -> Policy:
    """16-bit operands, FP32 accumulation and loss."""
    return Policy(weights=f, activations=f, gradients=f, **changes)


policies: Mapping[str, Policy] = MappingProxyType(
    {
        # Everything in one format.
        "fp32": Policy(),
        "fp64": _uniform(FP64),
        # Tensor Cores' TF32 mode: operands are rounded to TF32, all else is FP32.
        "tf32": Policy(weights=TF32, activations=TF32, gradients=TF32, master=FP32, outputs=FP32),
        # FP16 throughout: accumulators, loss and stored weights too.
        "fp16": _uniform(FP16),
        # Mixed precision (Micikevicius et al. 2018): FP32 master weights and accumulators.
        "fp16_master": _mixed(FP16, master=FP32),
        "fp16_master_scaled": _mixed(FP16, master=FP32, loss_scale=1024.0),
        # BF16 operands with FP32 accumulators, as BF16 hardware has them, weights stored in BF16.
        "bf16": _mixed(BF16),
        "bf16_master": _mixed(BF16, master=FP32),
        # FP8 operands (Micikevicius et al. 2022): E4M3 forward, E5M2 for incoming gradients,
        # scaled per tensor; results and parameter gradients stay in FP32.
        "fp8_hybrid": Policy(
            weights=E4M3,
            activations=E4M3,
            gradients=E5M2,
            master=FP32,
            outputs=FP32,
            scaling="per_tensor",
            saturation="finite",
        ),
    }
)
