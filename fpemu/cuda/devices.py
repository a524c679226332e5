"""The GPU: whether there is one, what it is, and running a kernel on it through CuPy.

A device is whatever has `facts` and ``run(kernel, a, b, c)``; the tests bring one that is none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fpemu.cuda.kernels import Kernel
from fpemu.errors import MissingExtraError, UnsupportedError, missing_extra

Facts = dict[str, str]

# By compute capability. Hopper's two chips have one; see `chip_of`.
CHIPS = {
    **{"7.0": "v100", "7.5": "t4", "8.0": "a100", "8.6": "a100", "8.9": "ada", "9.0": "h100"},
    **{"10.0": "b200", "12.0": "rtx50"},
}


class Device(Protocol):
    """What `matmul`, `record` and ``fpemu verify --gpu`` need of a GPU."""

    facts: Facts

    def run(self, kernel: Kernel, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        """The words of D, shape (rows, columns, words) as `c`, for those of A, (rows, steps, words), and
        B, (columns, steps, words); rows and columns count tiles."""


def chip_of(facts: Facts) -> str:
    """The chip in fpemu's table that a GPU is, by compute capability and for Hopper by name.

    Raises `UnsupportedError` for one that the table does not have: nothing is known of its sums.

    >>> chip_of({"name": "NVIDIA H200", "compute capability": "9.0"})
    'h200'
    """
    capability = facts["compute capability"]
    if capability == "9.0" and "H200" in facts["name"].upper():
        return "h200"
    if capability not in CHIPS:
        known = ", ".join(f"{chip} ({number})" for number, chip in CHIPS.items())
        raise UnsupportedError(
            f"fpemu knows no matrix unit of a GPU of compute capability {capability} ({facts['name']}); "
            f"it knows {known}"
        )
    return CHIPS[capability]


def is_available() -> bool:
    """Whether CuPy is installed and sees an NVIDIA GPU.

    Never raises; `device` says what is missing.
    """
    try:
        device()
    except (MissingExtraError, UnsupportedError):
        return False
    return True


def device(number: int | None = None) -> GPU:
    """The GPU of that number, by default CuPy's current one.

    Raises `MissingExtraError` without CuPy, and `UnsupportedError` without a GPU or its driver, for AMD's
    GPUs, and for a number that there is not.
    """
    cupy = _cupy()
    if cupy.cuda.runtime.is_hip:
        raise UnsupportedError(
            "fpemu.cuda runs on NVIDIA's GPUs; this CuPy is built for AMD's (ROCm), for which there are no "
            "kernels here"
        )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        chosen = cupy.cuda.runtime.getDevice() if number is None and count else number or 0
    except Exception as error:  # of CuPy's own class, which needs CuPy to be named
        raise UnsupportedError(
            f"fpemu.cuda finds no usable GPU: CUDA says {error}; it needs an NVIDIA GPU and its driver "
            "(nvidia-smi should list it); everything else in fpemu works without"
        ) from error
    if not 0 <= chosen < count:
        raise UnsupportedError(
            f"there is no GPU number {chosen}; CUDA sees {count}"
            + (f": 0 to {count - 1}" if count else " (is CUDA_VISIBLE_DEVICES set?)")
        )
    key = id(cupy), chosen
    if key not in _KNOWN:
        _KNOWN[key] = GPU(cupy, chosen)
    return _KNOWN[key]


_KNOWN: dict[tuple[int, int], GPU] = {}  # each keeps its compiled kernels


def _cupy() -> Any:
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise _broken(error) from error
        raise missing_extra("CuPy", "fpemu.cuda", "cuda") from None
    except Exception as error:
        raise _broken(error) from error
    return cupy


def _broken(error: Exception) -> UnsupportedError:
    return UnsupportedError(
        f"CuPy is installed and cannot be imported: {error}; run: pip install --force-reinstall 'fpemu[cuda]'"
    )


class GPU:
    """An NVIDIA GPU; made by `device`."""

    def __init__(self, cupy: Any, number: int) -> None:
        self.cupy, self.number = cupy, number
        self._functions: dict[Kernel, Any] = {}
        self.facts = self._facts()

    def __repr__(self) -> str:
        return f"<GPU {self.number}: {self.facts['name']}>"

    def _facts(self) -> Facts:
        runtime = self.cupy.cuda.runtime
        found = runtime.getDeviceProperties(self.number)
        name = found["name"]
        return {
            "name": name.decode() if isinstance(name, bytes) else str(name),
            "compute capability": f"{found['major']}.{found['minor']}",
            "driver": _driver(),
            "CUDA of the driver": _version(runtime.driverGetVersion()),
            "CUDA runtime": _version(runtime.runtimeGetVersion()),
            "NVRTC": _of_nvrtc(self.cupy),
            "CuPy": self.cupy.__version__,
        }

    def run(self, kernel: Kernel, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        """See `Device`."""
        cupy = self.cupy
        with cupy.cuda.Device(self.number):
            function = self._function(kernel)
            try:
                given = [cupy.asarray(np.ascontiguousarray(words)) for words in (a, b, c)]
                made = cupy.empty(c.shape, c.dtype)
                sizes = np.uint32(a.shape[1]), np.uint32(c.shape[1])
                tiles = c.shape[0] * c.shape[1]
                function((tiles, 1, 1), (kernel.threads, 1, 1), (*given, made, *sizes))
                return made.get()
            except Exception as error:
                raise UnsupportedError(
                    f"{self.facts['name']} does not run the kernel {kernel.name}: {error}"
                ) from error

    def _function(self, kernel: Kernel) -> Any:
        if kernel not in self._functions:
            digits = self.facts["compute capability"].replace(".", "")
            binary = compiled(kernel, digits, self.cupy.cuda.nvrtc)
            module = self.cupy.cuda.function.Module()
            try:
                module.load(binary)
                self._functions[kernel] = module.get_function(kernel.name)
            except Exception as error:
                raise UnsupportedError(
                    f"{self.facts['name']} does not load the kernel {kernel.name}: {error}"
                ) from error
        return self._functions[kernel]


def compiled(kernel: Kernel, digits: str, nvrtc: Any) -> bytes:
    """The machine code of a kernel for the architecture sm_`digits`, by CuPy's `nvrtc`; no GPU is needed.

    Raises `UnsupportedError` with the compiler's words.
    """
    option = f"--gpu-architecture=sm_{digits}{'a' if kernel.specific else ''}"
    try:
        program = nvrtc.createProgram(kernel.source, f"{kernel.name}.cu", (), ())
    except Exception as error:
        raise UnsupportedError(
            f"fpemu.cuda needs NVRTC, the compiler of CUDA: {str(error).splitlines()[0]}; run: "
            "pip install 'fpemu[cuda]'"
        ) from error
    try:
        nvrtc.compileProgram(program, (option,))
        # CuPy takes the last byte for the end of a text, which of this is none.
        return nvrtc.getCUBIN(program) + b"\0"
    except Exception as error:
        said = " ".join((nvrtc.getProgramLog(program) or str(error)).split())
        raise UnsupportedError(
            f"NVRTC does not compile {kernel.ptx} with {option}: {said}; a newer CUDA may"
        ) from error
    finally:
        nvrtc.destroyProgram(program)


def _of_nvrtc(cupy: Any) -> str:
    try:
        return "{}.{}".format(*cupy.cuda.nvrtc.getVersion())
    except Exception:
        return "missing"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver() -> str:
    """The driver's version where the system tells it."""
    try:
        said = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return "unknown"
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return found.group() if found else "unknown"
