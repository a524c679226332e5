"""`load`: any data set by its name, or from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fpemu.data import files, synthetic
from fpemu.data.dataset import Dataset
from fpemu.data.digits import digits
from fpemu.data.mnist5k import mnist5k
from fpemu.data.openml import SOURCES, openml
from fpemu.errors import unknown


def _downloaded(name: str) -> Callable[..., Dataset]:
    return lambda seed: openml(name)  # their makers have divided them


NAMED: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "mnist5k": mnist5k,
    **{name: _downloaded(name) for name in SOURCES},
    "moons": synthetic.moons,
    "spirals": synthetic.spirals,
    "xor": synthetic.xor,
    "bars": synthetic.bars,
    "copy": synthetic.copy_task,
}


def load(name: object, *, seed: int = 0) -> Dataset:
    """The data set `name`, or a file ``.npz`` (arrays x and y) or ``.csv``; see `NAMED`, `from_file`.

    "digits" and "mnist5k" are real images that ship inside packages; "mnist", "fashion_mnist" and
    "cifar10" are downloaded once (see `openml`); "moons", "spirals", "xor", "bars" and "copy" are made up.
    `seed` decides what is random: the split, and what is made up.
    Raises `ArgumentError` for an unknown name or unreadable file, `MissingExtraError` where a package
    is missing, `DownloadError` where the network is.

    >>> load("digits").train_x.shape, load("bars").train_x.shape
    ((1437, 64), (400, 1, 8, 8))
    """
    name = str(name)
    if name in NAMED:
        return NAMED[name](seed=seed)
    if Path(name).suffix not in files.SUFFIXES:
        raise unknown("data", name, [*NAMED, "FILE.npz", "FILE.csv"])
    return files.from_file(name, seed=seed)
