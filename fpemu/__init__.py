"""fpemu: low-precision arithmetic, visible and exactly reproducible.

``import fpemu as fp`` loads neither Numba nor anything optional; the modules behind arrays,
models and training are loaded when one of their names is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fpemu.errors import (
    ArgumentError as ArgumentError,
)
from fpemu.errors import (
    DownloadError as DownloadError,
)
from fpemu.errors import (
    FpemuError as FpemuError,
)
from fpemu.errors import (
    MissingExtraError as MissingExtraError,
)
from fpemu.errors import (
    TrapError as TrapError,
)
from fpemu.errors import (
    UnsupportedError as UnsupportedError,
)
from fpemu.formats import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E3M4,
    E4M3,
    E4M3_IEEE,
    E4M3B11FNUZ,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E8M0,
    FP16,
    FP32,
    FP64,
    TF32,
    Format,
    as_format,
    finfo,
    p3109,
)

if TYPE_CHECKING:
    from fpemu import autograd as autograd
    from fpemu import data as data
    from fpemu import diagnose as diagnose
    from fpemu import nn as nn
    from fpemu import optim as optim
    from fpemu.accumulation import Accumulator as Accumulator
    from fpemu.arrays import Array as Array
    from fpemu.arrays import array as array
    from fpemu.arrays import asarray as asarray
    from fpemu.arrays import compute as compute
    from fpemu.arrays import erf as erf
    from fpemu.arrays import flags_of as flags_of
    from fpemu.arrays import fma as fma
    from fpemu.arrays import load as load
    from fpemu.arrays import remainder as remainder
    from fpemu.arrays import round_to_integer as round_to_integer
    from fpemu.arrays import rsqrt as rsqrt
    from fpemu.arrays import save as save
    from fpemu.arrays import sigmoid as sigmoid
    from fpemu.autograd.tensor import Tensor as Tensor
    from fpemu.autograd.tensor import no_grad as no_grad
    from fpemu.context import arithmetic as arithmetic
    from fpemu.convert import decode as decode
    from fpemu.convert import encode as encode
    from fpemu.convert import quantize as quantize
    from fpemu.display import show as show
    from fpemu.events import trace as trace
    from fpemu.explaining import explain as explain
    from fpemu.flags import Flag as Flag
    from fpemu.interchange import dtype_of as dtype_of
    from fpemu.interchange import pack as pack
    from fpemu.interchange import unpack as unpack
    from fpemu.linalg import conv1d as conv1d
    from fpemu.linalg import conv1d_input as conv1d_input
    from fpemu.linalg import conv1d_weight as conv1d_weight
    from fpemu.linalg import conv2d as conv2d
    from fpemu.linalg import conv2d_input as conv2d_input
    from fpemu.linalg import conv2d_weight as conv2d_weight
    from fpemu.linalg import conv_transpose2d as conv_transpose2d
    from fpemu.linalg import conv_transpose2d_input as conv_transpose2d_input
    from fpemu.linalg import conv_transpose2d_weight as conv_transpose2d_weight
    from fpemu.linalg import cumsum as cumsum
    from fpemu.linalg import dot as dot
    from fpemu.linalg import einsum as einsum
    from fpemu.linalg import gemm as gemm
    from fpemu.linalg import layer_norm as layer_norm
    from fpemu.linalg import layer_norm_grad as layer_norm_grad
    from fpemu.linalg import log_softmax as log_softmax
    from fpemu.linalg import log_softmax_grad as log_softmax_grad
    from fpemu.linalg import logsumexp as logsumexp
    from fpemu.linalg import matmul as matmul
    from fpemu.linalg import mean as mean
    from fpemu.linalg import norm as norm
    from fpemu.linalg import rms_norm as rms_norm
    from fpemu.linalg import rms_norm_grad as rms_norm_grad
    from fpemu.linalg import scaled_matmul as scaled_matmul
    from fpemu.linalg import softmax as softmax
    from fpemu.linalg import softmax_grad as softmax_grad
    from fpemu.linalg import sum as sum
    from fpemu.linalg import var as var
    from fpemu.matrix_units import MatrixUnit as MatrixUnit
    from fpemu.matrix_units import matrix_unit as matrix_unit
    from fpemu.neighbours import classify as classify
    from fpemu.neighbours import next_down as next_down
    from fpemu.neighbours import next_up as next_up
    from fpemu.neighbours import nextafter as nextafter
    from fpemu.neighbours import shortest as shortest
    from fpemu.neighbours import ulp as ulp
    from fpemu.neighbours import values as values
    from fpemu.policy import Policy as Policy
    from fpemu.policy import policies as policies
    from fpemu.random import manual_seed as manual_seed
    from fpemu.training import EarlyStopping as EarlyStopping
    from fpemu.training import History as History
    from fpemu.training import LiveCurves as LiveCurves
    from fpemu.training import load_checkpoint as load_checkpoint
    from fpemu.training import train as train

__version__ = "0.1.0"

# Name -> the module that defines it; None for a module that is itself the name.
_LAZY = {
    **dict.fromkeys(("autograd", "data", "diagnose", "nn", "optim")),
    **dict.fromkeys(("Array", "array", "asarray", "compute", "flags_of", "fma"), "arrays"),
    **dict.fromkeys(("erf", "remainder", "round_to_integer", "rsqrt", "sigmoid"), "arrays"),
    **dict.fromkeys(("load", "save"), "arrays"),
    "arithmetic": "context",
    **dict.fromkeys(("dtype_of", "pack", "unpack"), "interchange"),
    "Flag": "flags",
    **dict.fromkeys(("Tensor", "no_grad"), "autograd.tensor"),
    **dict.fromkeys(("quantize", "encode", "decode"), "convert"),
    "show": "display",
    "explain": "explaining",
    "trace": "events",
    **dict.fromkeys(
        ("sum", "cumsum", "mean", "var", "norm", "dot", "matmul", "einsum", "gemm"), "linalg"
    ),
    **dict.fromkeys(("conv1d", "conv2d", "conv_transpose2d", "scaled_matmul"), "linalg"),
    **dict.fromkeys(("conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight"), "linalg"),
    **dict.fromkeys(("conv_transpose2d_input", "conv_transpose2d_weight"), "linalg"),
    **dict.fromkeys(("softmax", "log_softmax", "logsumexp"), "linalg"),
    **dict.fromkeys(("softmax_grad", "log_softmax_grad"), "linalg"),
    **dict.fromkeys(("layer_norm", "layer_norm_grad", "rms_norm", "rms_norm_grad"), "linalg"),
    "Accumulator": "accumulation",
    **dict.fromkeys(("MatrixUnit", "matrix_unit"), "matrix_units"),
    **dict.fromkeys(("Policy", "policies"), "policy"),
    "manual_seed": "random",
    **dict.fromkeys(("train", "History", "load_checkpoint"), "training"),
    **dict.fromkeys(("EarlyStopping", "LiveCurves"), "training"),
    **dict.fromkeys(("next_up", "next_down", "nextafter", "ulp", "classify"), "neighbours"),
    **dict.fromkeys(("values", "shortest"), "neighbours"),
}

__all__ = [
    *("BF16", "E2M1", "E2M3", "E3M2", "E3M4", "E4M3", "E4M3B11FNUZ", "E4M3FNUZ", "E4M3_IEEE"),
    *("E5M2", "E5M2FNUZ", "E8M0", "FP16", "FP32", "FP64", "TF32"),
    *(
        "ArgumentError",
        "DownloadError",
        "FpemuError",
        "MissingExtraError",
        "TrapError",
        "UnsupportedError",
    ),
    *("Format", "as_format", "finfo", "p3109"),
    *_LAZY,
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'fpemu' has no attribute {name!r}")
    where = _LAZY[name]
    module = importlib.import_module(f"fpemu.{where or name}")
    value = getattr(module, name) if where else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
