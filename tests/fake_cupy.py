"""A CuPy that is none: what `fpemu.cuda` uses of it, on the memory of this machine, and cuBLAS and cuBLASLt with
the arguments that their manuals give, multiplying column by column."""

from __future__ import annotations

import ctypes
import types

import numpy as np
from fake_gpu import NAMES

from fpemu import cuda
from fpemu.convert import decode, encode
from fpemu.cuda.kernels import kernels

HANDLE = 77
TYPES = {0: "fp32", 1: "fp64", 2: "fp16", 14: "bf16", 28: "e4m3", 29: "e5m2"}


class Held(np.ndarray):
    """An array of the GPU."""

    def get(self):
        return np.asarray(self)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


def memory(pointer: int, kind: int, rows: int, columns: int, apart: int) -> np.ndarray:
    """The codes of a matrix that is stored column by column."""
    size = {0: 4, 1: 8, 2: 2, 14: 2, 28: 1, 29: 1}[kind]
    at = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_uint8 * (size * apart * columns)))
    whole = np.frombuffer(at.contents, f"u{size}").reshape(columns, apart)
    return whole[:, :rows].T


def multiplied(a, b, c, kinds, alpha: float, beta: float) -> None:
    """c = alpha * a @ b + beta * c, for codes of the types `kinds`."""
    x, y, z = (
        decode(m, TYPES[kind]).astype(float) for m, kind in zip((a, b, c), kinds, strict=True)
    )
    f = TYPES[kinds[2]]
    with np.errstate(all="ignore"):
        total = alpha * x @ y + beta * (z if beta else 0)
    c[...] = encode(total, f)


def scalar(pointer: int, kind: int) -> float:
    return float(decode(memory(pointer, kind, 1, 1, 1), TYPES[kind])[0, 0])


def gemm_ex(handle, transa, transb, m, n, k, alpha, a, atype, lda, b, btype, ldb, beta, c, ctype, ldc, compute, algo):  # fmt: skip
    assert (handle, transa, transb, algo) == (HANDLE, 0, 0, -1)
    assert (atype, ctype, compute) in {
        *((2, 0, 68), (14, 0, 68), (0, 0, 77), (2, 2, 64), (1, 1, 70)),
    }
    matrices = memory(a, atype, m, k, lda), memory(b, btype, k, n, ldb), memory(c, ctype, m, n, ldc)
    multiplied(*matrices, (atype, btype, ctype), scalar(alpha, ctype), scalar(beta, ctype))


class FakeLt:
    """cuBLASLt: descriptors are numbers of dictionaries."""

    def __init__(self) -> None:
        self.things: list[dict] = [{}]
        self.alive = 0
        self.cublasLtGetVersion = lambda: 120903
        self.kernels = 1

    def _make(self, pointer, **facts) -> int:
        self.things.append(facts)
        pointer._obj.value = len(self.things) - 1
        self.alive += 1
        return 0

    def _destroy(self, pointer) -> int:
        self.alive -= 1
        return 0

    def _set(self, pointer, attribute, value, size) -> int:
        if size.value != ctypes.sizeof(value._obj):
            return 7
        self.things[pointer.value][attribute] = value._obj.value
        return 0

    cublasLtDestroy = cublasLtMatmulDescDestroy = _destroy
    cublasLtMatrixLayoutDestroy = cublasLtMatmulPreferenceDestroy = _destroy
    cublasLtMatmulDescSetAttribute = cublasLtMatmulPreferenceSetAttribute = _set

    def cublasLtCreate(self, pointer):
        return self._make(pointer, handle=True)

    def cublasLtMatmulDescCreate(self, pointer, compute, scale):
        return self._make(pointer, compute=compute, scale=scale)

    def cublasLtMatrixLayoutCreate(self, pointer, kind, rows, columns, apart):
        return self._make(pointer, of=(kind, rows.value, columns.value, apart.value))

    def cublasLtMatmulPreferenceCreate(self, pointer):
        return self._make(pointer)

    def cublasLtMatmulAlgoGetHeuristic(
        self, handle, operation, a, b, c, d, wish, most, result, count
    ):
        assert self.things[handle.value]["handle"]
        assert most == 1
        assert self.things[wish.value] == {1: 32 << 20, 3: 0}  # no reduction: no split-K
        result._obj.workspace, result._obj.state = 64, 0
        count._obj.value = self.kernels
        return 0

    def cublasLtMatmul(self, handle, operation, alpha, a, a_is, b, b_is, beta, c, c_is, d, d_is, algo, space, size, stream):  # fmt: skip
        how = self.things[operation.value]
        self.last = how
        assert how[3] == 1  # the first operand is transposed
        assert (c.value, c_is.value, size.value) == (d.value, d_is.value, 64)
        layouts = [self.things[x.value]["of"] for x in (a_is, b_is, c_is)]
        x, y, z = (memory(p.value, *at) for p, at in zip((a, b, c), layouts, strict=True))
        kinds = [at[0] for at in layouts]
        assert how["scale"] == kinds[2]
        scales = scalar(alpha.value, how["scale"]), scalar(beta.value, how["scale"])
        multiplied(x.T, y, z, kinds, *scales)
        return 0

    def cublasLtMatmulAlgoConfigGetAttribute(self, algo, attribute, value, size, written):
        assert size.value == 4
        value._obj.value = 100 + attribute
        return 0


def fake_cupy(count: int = 1, capability: str = "9.0", hip: bool = False, gpu=None):
    """What `fpemu.cuda` uses of CuPy."""
    major, minor = capability.split(".")
    properties = {"name": NAMES[capability].encode(), "major": int(major), "minor": int(minor)}

    def counted():
        if count < 0:
            raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return count

    class Module:
        def load(self, binary):
            assert binary == b"cubin\0"

        def get_function(self, name):
            wanted = next(k for k in kernels(cuda.chip_of(gpu.facts)) if k.name == name)

            def launch(grid, block, args):
                a, b, c, d, steps, columns = args
                assert block == (wanted.threads, 1, 1)
                assert grid == (c.shape[0] * c.shape[1], 1, 1)
                assert (steps.dtype, columns.dtype) == (np.uint32, np.uint32)
                assert (int(steps), int(columns)) == (a.shape[1], c.shape[1])
                d[...] = gpu.run(wanted, np.asarray(a), np.asarray(b), np.asarray(c))

            return launch

    class Nvrtc:
        compiled: list = []  # noqa: RUF012

        def createProgram(self, source, name, headers, names):
            return source

        def compileProgram(self, program, options):
            self.compiled.append(options)
            if "e5m2" in program:
                raise RuntimeError("NVRTC_ERROR_COMPILATION")

        def getCUBIN(self, program):
            return b"cubin"

        def getProgramLog(self, program):
            return "error: no such\ntype"

        def getVersion(self):
            return 12, 9

        def destroyProgram(self, program):
            pass

    class Device:
        cublas_handle = HANDLE

        def __init__(self, number):
            assert number == 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    runtime = types.SimpleNamespace(
        is_hip=hip,
        getDeviceCount=counted,
        getDevice=lambda: 0,
        getDeviceProperties=lambda number: properties,
        driverGetVersion=lambda: 12080,
        runtimeGetVersion=lambda: 12090,
    )
    made = types.ModuleType("cupy")
    made.__version__ = "14.2.0"
    made.asarray = lambda x: x.copy(order="A").view(Held)
    made.empty = lambda shape, dtype: np.empty(shape, dtype).view(Held)
    made.cuda = types.SimpleNamespace(
        runtime=runtime,
        Device=Device,
        nvrtc=Nvrtc(),
        function=types.SimpleNamespace(Module=Module),
        cublas=types.SimpleNamespace(gemmEx=gemm_ex),
        get_current_stream=lambda: types.SimpleNamespace(ptr=0),
    )
    return made
