"""A kernel compiled by one process is found again by the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import numpy as np, fpemu as fp
x = fp.array(np.ones(8), "fp16")
x + x, x / x, np.sqrt(x), x @ x
fp.quantize(np.ones(4, np.float32), "bf16", rounding="to_odd")
fp.quantize(np.ones(4, np.float32), "e4m3", rounding="stochastic")
"""


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.nbc")}


def test_a_second_process_compiles_nothing(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", CODE]
    subprocess.run(command, env=environment, check=True)
    first = files(tmp_path)
    assert len(first) >= 6
    subprocess.run(command, env=environment, check=True)
    assert files(tmp_path) == first
