"""What an import costs: no Numba, nothing optional; and the check can fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

import fpemu as fp

HEAVY = (
    "numba",
    "llvmlite",
    "ml_dtypes",
    "matplotlib",
    "sklearn",
    "scipy",
    "torch",
    "tqdm",
    "cupy",
    "safetensors",
)


def loaded_by(code: str) -> set[str]:
    probe = f"import sys; {code}; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split() if done.stdout.strip() else [])


@pytest.mark.parametrize(
    "code",
    [
        "import fpemu",
        "import fpemu; fpemu.finfo('fp16'); fpemu.as_format('e4m3').max; fpemu.show('0.1')",
        "from fpemu import nn, optim, data; import fpemu; fpemu.policies; fpemu.train",
        "from fpemu.cli.main import main; main(['show', '0.1'])",
        "import fpemu; fpemu.explain('0.1', 'fp16'); fpemu.explain.fma(1, 2, 3, 'e4m3')",
        "from fpemu.cli.main import main; main(['info'])",
        "from fpemu import cuda; cuda.chip_of, cuda.matmul",
        "from fpemu.cli.main import main; main(['explain', '2048', '+', '1', '--seed', '1'])",
        "from fpemu.cli.main import main; main(['table', 'e4m3'])",
        "from fpemu.cli.main import main; main(['policy', 'fp8_hybrid'])",
    ],
)
def test_light_imports(code):
    assert loaded_by(code) == set()


def test_the_probe_sees_what_it_should():
    assert "numba" in loaded_by("import fpemu; fpemu.quantize(0.1, 'fp16')")


def test_every_public_name_is_there_and_documented():
    for name in fp.__all__:
        value = getattr(fp, name)
        assert name in dir(fp)
        if not isinstance(value, (fp.Format, Mapping)):  # data: documented where it is made
            assert getattr(value, "__doc__", None), f"{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fp.nonsense


def test_functions_keep_their_names_when_submodules_are_imported_first():
    code = (
        "import fpemu.training, fpemu.arrays, fpemu.linalg, fpemu.explaining.explainer, fpemu as fp; "
        "print(callable(fp.train) and callable(fp.explain))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
