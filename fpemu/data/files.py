"""Arrays of one's own from files: ``.npz`` and ``.csv``."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fpemu.data.dataset import Dataset, checked
from fpemu.errors import ArgumentError

SUFFIXES = (".npz", ".csv")


def from_file(name: str, *, seed: int = 0) -> Dataset:
    """The data in a ``.npz`` or ``.csv`` file, split by `seed`.

    A ``.npz`` file holds arrays ``x`` (rows, ...) and ``y`` (rows, ...); if it also holds ``test_x`` and
    ``test_y``, these are the test rows and nothing is split. A ``.csv`` file holds numbers only, the
    class in the last column. Raises `ArgumentError` if it cannot be read, or holds something else.
    """
    try:
        if Path(name).suffix == ".npz":
            arrays = _from_npz(name)
        else:
            with warnings.catch_warnings(action="ignore"):  # an empty file is refused below
                table = np.loadtxt(name, delimiter=",", ndmin=2)
            arrays = {"x": table[:, :-1], "y": table[:, -1]}
    except KeyError as error:
        raise ArgumentError(f"data {name!r} must hold arrays x and y: {error.args[0]}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArgumentError(f"data {name!r} cannot be read: {error}") from None
    if "test_x" not in arrays:
        return Dataset.split(name, arrays["x"], arrays["y"], seed=seed)
    train, test = (checked(name, arrays[part + "x"], arrays[part + "y"]) for part in ("", "test_"))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ArgumentError(
            f"data {name!r}: rows of x have shape {train[0].shape[1:]}, rows of test_x {test[0].shape[1:]}"
        )
    return Dataset(name, *train, *test)


def _from_npz(name: str) -> dict[str, Any]:
    loaded = np.load(name, allow_pickle=False)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise ValueError("it is not a .npz archive")
    with loaded as stored:
        names = ["x", "y"]
        if "test_x" in stored or "test_y" in stored:
            names += ["test_x", "test_y"]
        return {part: stored[part] for part in names}
