"""Products by cuBLASLt without split-K, FP8 among them, and which of its kernels it took.

Called through ctypes, because CuPy does not offer it. Not yet run on hardware.

Source: NVIDIA, cuBLAS documentation and cublasLt.h of CUDA 12.9.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from fpemu.carriers import code_dtype
from fpemu.convert import codes_of
from fpemu.cuda.cublas import COMPUTE, TYPES, load, stored
from fpemu.cuda.devices import GPU, Device
from fpemu.errors import UnsupportedError
from fpemu.matrix_units import Instruction

_FILES = ("libcublasLt.so.12", "libcublasLt.so.13", "cublasLt64_12.dll", "cublasLt64_13.dll")
_FP8 = {"e4m3": 28, "e5m2": 29}  # cudaDataType_t
_MULTIPLE = 16  # of m, n and k that FP8 needs, and the aligned kernels of the others
_WORKSPACE = 32 << 20

# Attributes by their numbers in cublasLt.h.
_TRANSPOSE_FIRST, _FAST_ACCUMULATION = 3, 25
_MOST_WORKSPACE, _REDUCTIONS = 1, 3
_CONFIGURATION = {
    "algorithm": 0,
    "tile": 1,
    "split-K": 2,
    "reduction scheme": 3,
    "custom option": 5,
    "stages": 6,
}


class _Algorithm(ctypes.Structure):
    _fields_ = (("data", ctypes.c_uint64 * 8),)


class _Choice(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", _Algorithm),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


class Library:
    """The functions of cuBLASLt, each of which raises `UnsupportedError` where it fails."""

    def __init__(self, library: Any) -> None:
        self.library = library
        library.cublasLtGetVersion.restype = ctypes.c_size_t
        self.version = int(library.cublasLtGetVersion())

    def call(self, name: str, *arguments: Any) -> None:
        """Call cublasLt`name`."""
        status = getattr(self.library, f"cublasLt{name}")(*arguments)
        if status:
            raise UnsupportedError(
                f"cuBLASLt {self.version} refuses: cublasLt{name} gives status {status}"
                + (" (not supported)" if status == 15 else "")
            )

    @contextmanager
    def made(self, kind: str, *arguments: Any) -> Iterator[ctypes.c_void_p]:
        """What cublasLt`kind`Create makes; destroyed in the end."""
        pointer = ctypes.c_void_p()
        self.call(f"{kind}Create", ctypes.byref(pointer), *arguments)
        try:
            yield pointer
        finally:
            self.call(f"{kind}Destroy", pointer)

    def put(self, kind: str, pointer: ctypes.c_void_p, attribute: int, value: Any) -> None:
        """Set an attribute of what `made` made."""
        size = ctypes.c_size_t(ctypes.sizeof(value))
        self.call(f"{kind}SetAttribute", pointer, attribute, ctypes.byref(value), size)

    def operation(self, stack: ExitStack, compute: int, scale: int, fast: bool | None) -> Any:
        """How to multiply: the first operand transposed; for FP8 with or without fast accumulation."""
        made = stack.enter_context(self.made("MatmulDesc", compute, scale))
        self.put("MatmulDesc", made, _TRANSPOSE_FIRST, ctypes.c_int32(1))
        if fast is not None:
            self.put("MatmulDesc", made, _FAST_ACCUMULATION, ctypes.c_int8(fast))
        return made

    def layout(self, stack: ExitStack, kind: int, rows: int, columns: int) -> Any:
        """A matrix column by column."""
        sizes = ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(rows)
        return stack.enter_context(self.made("MatrixLayout", kind, *sizes))

    def preference(self, stack: ExitStack) -> Any:
        """No split-K."""
        made = stack.enter_context(self.made("MatmulPreference"))
        self.put("MatmulPreference", made, _MOST_WORKSPACE, ctypes.c_uint64(_WORKSPACE))
        self.put("MatmulPreference", made, _REDUCTIONS, ctypes.c_uint32(0))
        return made

    def configuration(self, algorithm: _Algorithm) -> dict[str, int]:
        """What the library says of the kernel that it chose."""
        found = {"cuBLASLt": self.version}
        for name, attribute in _CONFIGURATION.items():
            value, written = ctypes.c_uint32(), ctypes.c_size_t()
            self.call(
                "MatmulAlgoConfigGetAttribute",
                *(ctypes.byref(algorithm), attribute, ctypes.byref(value)),
                *(ctypes.c_size_t(4), ctypes.byref(written)),
            )
            found[name] = value.value
        return found


def product(
    device: Device, made: Instruction, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None
) -> tuple[np.ndarray, dict[str, int]]:
    """The codes of ``a @ b + c`` by cublasLtMatmul, and the kernel that it took, for carriers of shapes
    (m, k), (k, n), (m, n); all three are padded with zeros to multiples of 16.

    For FP8 ``promote=0`` asks for fast accumulation, any other for none. Raises `UnsupportedError` for what
    cuBLASLt does not take.
    """
    types = {**TYPES, **_FP8}
    fp8 = made.a.name in _FP8 and made.b.name in _FP8
    compute = COMPUTE.get((made.a.name, made.accumulator.name))
    if fp8 and made.accumulator.name == "fp32":
        compute = COMPUTE["fp16", "fp32"]
    if compute is None or (made.a != made.b and not fp8) or made.split > 1:
        raise UnsupportedError(
            f"fpemu.cuda does not ask cuBLASLt for {made} with split={made.split}; library='kernel' may do it"
        )
    if not isinstance(device, GPU):
        raise UnsupportedError(f"{device!r} has no cuBLASLt")
    (m, k), n = a.shape, b.shape[1]
    start = np.zeros((m, n)) if c is None else c
    if 0 in (m, n, k):
        return codes_of(start, made.accumulator), {}
    # Column by column a matrix is its transpose, and so is the product, taken the other way.
    first, second = _padded(stored(b.T, made.b)), _padded(stored(a, made.a))
    total = _padded(codes_of(start, made.accumulator))
    fast = made.promote == 0 if fp8 else None
    kinds = types[made.b.name], types[made.a.name], types[made.accumulator.name]
    result, how = _multiply(device, (compute, fast, c is not None), kinds, first, second, total)
    return result[:m, :n].astype(code_dtype(made.accumulator)), how


def _padded(matrix: np.ndarray) -> np.ndarray:
    return np.pad(matrix, [(0, -size % _MULTIPLE) for size in matrix.shape])


def _multiply(
    device: GPU, how: tuple[int, bool | None, bool], kinds, first, second, total
) -> tuple[np.ndarray, dict[str, int]]:
    """``first @ second.T`` and `total`, transposed."""
    compute, fast, add = how
    cupy, library = device.cupy, _library(device.cupy)
    k, (m, n) = first.shape[1], total.shape
    scalar = np.dtype(f"f{total.itemsize}")
    one, second_scale = np.ones(1, scalar), np.full(1, float(add), scalar)
    with cupy.cuda.Device(device.number), ExitStack() as stack:
        handle = stack.enter_context(_handle(library))
        operation = library.operation(stack, compute, kinds[2], fast)
        layouts = [
            library.layout(stack, kind, rows, columns)
            for kind, rows, columns in ((kinds[0], k, n), (kinds[1], k, m), (kinds[2], n, m))
        ]
        preference = library.preference(stack)
        choice, count = _Choice(), ctypes.c_int()
        library.call(
            "MatmulAlgoGetHeuristic",
            *(handle, operation, *layouts, layouts[2], preference, 1),
            *(ctypes.byref(choice), ctypes.byref(count)),
        )
        if not count.value or choice.state:
            raise UnsupportedError(f"cuBLASLt {library.version} has no kernel for this product")
        held = [cupy.asarray(np.ascontiguousarray(x)) for x in (first, second, total)]
        space = cupy.empty(max(choice.workspace, 1), np.uint8)
        at = [ctypes.c_void_p(x.data.ptr) for x in held]
        library.call(
            "Matmul",
            *(handle, operation, ctypes.c_void_p(one.ctypes.data)),
            *(at[0], layouts[0], at[1], layouts[1], ctypes.c_void_p(second_scale.ctypes.data)),
            *(at[2], layouts[2], at[2], layouts[2], ctypes.byref(choice.algorithm)),
            *(ctypes.c_void_p(space.data.ptr), ctypes.c_size_t(choice.workspace)),
            ctypes.c_void_p(cupy.cuda.get_current_stream().ptr),
        )
        return held[2].get(), library.configuration(choice.algorithm)


@contextmanager
def _handle(library: Library) -> Iterator[ctypes.c_void_p]:
    handle = ctypes.c_void_p()
    library.call("Create", ctypes.byref(handle))
    try:
        yield handle
    finally:
        library.call("Destroy", handle)


def _library(cupy: Any) -> Library:
    load(cupy)  # CuPy finds the libraries, and this one with them
    for name in _FILES:
        try:
            return Library(ctypes.CDLL(name))
        except OSError:
            continue
    raise UnsupportedError(f"cuBLASLt is missing: none of {', '.join(_FILES)} can be loaded")
