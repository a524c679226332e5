"""Products by cuBLAS, through CuPy: what libraries really compute. Not yet run on hardware.

cuBLAS chooses among kernels by shape, alignment and version, and tells nobody which; with split-K, or on
ordinary cores for thin matrices, its bits are not those of one instruction's plain chain.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.convert import codes_of
from fpemu.cuda.devices import GPU, Device
from fpemu.cuda.kernels import container
from fpemu.errors import UnsupportedError
from fpemu.matrix_units import Instruction

# cudaDataType_t and cublasComputeType_t.
TYPES = {"fp32": 0, "tf32": 0, "fp64": 1, "fp16": 2, "bf16": 14}
COMPUTE = {
    **{("fp16", "fp32"): 68, ("bf16", "fp32"): 68, ("tf32", "fp32"): 77},
    **{("fp16", "fp16"): 64, ("fp64", "fp64"): 70},
}
_NOT_TRANSPOSED, _DEFAULT_ALGORITHM = 0, -1


def product(
    device: Device, made: Instruction, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None
) -> np.ndarray:
    """The codes of ``a @ b + c`` by cublasGemmEx, for carriers of shapes (m, k), (k, n), (m, n).

    alpha = 1, and with `c` beta = 1. Raises `UnsupportedError` for formats that it does not take (FP8 goes
    through `cublaslt`), and without cuBLAS.
    """
    compute = COMPUTE.get((made.a.name, made.accumulator.name))
    if compute is None or made.a != made.b:
        taken = ", ".join(f"{a} -> {d}" for a, d in COMPUTE)
        raise UnsupportedError(
            f"cublasGemmEx does not multiply {made.a.name} by {made.b.name} into {made.accumulator.name}; it "
            f"takes {taken}; library='cublaslt' takes FP8, too, and library='kernel' the rest"
        )
    if not isinstance(device, GPU):
        raise UnsupportedError(f"{device!r} has no cuBLAS")
    (m, k), n = a.shape, b.shape[1]
    start = np.zeros((m, n), a.dtype) if c is None else c
    if 0 in (m, n, k):
        return codes_of(start, made.accumulator)
    return _gemm(device, made, compute, a, b, start, beta=c is not None)


def _gemm(device: GPU, made: Instruction, compute: int, a, b, c, *, beta: bool) -> np.ndarray:
    cupy = device.cupy
    (m, k), n = a.shape, b.shape[1]
    library = load(cupy)
    scalar = np.dtype(f"f{made.accumulator.bits // 8}")
    one, second = np.ones(1, scalar), np.full(1, float(beta), scalar)
    types = TYPES[made.a.name], TYPES[made.accumulator.name]
    where = cupy.cuda.Device(device.number)
    with where:
        left, right = (cupy.asarray(stored(x, made.a)) for x in (a, b))
        total = cupy.asarray(codes_of(c, made.accumulator))
        # Column by column the matrices are their transposes, and so is the product, taken the other way.
        library.gemmEx(
            *(where.cublas_handle, _NOT_TRANSPOSED, _NOT_TRANSPOSED, n, m, k),
            *(one.ctypes.data, right.data.ptr, types[0], n, left.data.ptr, types[0], k),
            *(second.ctypes.data, total.data.ptr, types[1], n, compute, _DEFAULT_ALGORITHM),
        )
        return total.get()


def stored(values: np.ndarray, f: Any) -> np.ndarray:
    """What stands in memory for each value."""
    width, shift = container(f)
    return codes_of(values, f).astype(f"u{width // 8}") << shift


def load(cupy: Any) -> Any:
    """CuPy's cuBLAS; `UnsupportedError` where there is none."""
    try:
        from cupy.cuda import cublas
    except Exception as error:
        raise UnsupportedError(
            f"library='cublas' needs cuBLAS: {str(error).splitlines()[0]}; run: pip install 'fpemu[cuda]'"
        ) from error
    return cublas
