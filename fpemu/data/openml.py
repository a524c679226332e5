"""Full MNIST, Fashion-MNIST and CIFAR-10 from OpenML, downloaded once and kept with a checksum."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpemu.data.dataset import Dataset
from fpemu.errors import ArgumentError, DownloadError, missing_extra, unknown
from fpemu.files import written_whole


@dataclass(frozen=True)
class Source:
    """A data set of images at OpenML: what it must be, and how it is divided."""

    openml: str
    number: int
    shape: tuple[int, int, int]
    train: tuple[int, ...]  # images of each class among those to train on, which come first
    test: tuple[int, ...]


# The numbers of images per class are those that the makers of the data publish.
SOURCES = {
    "mnist": Source(
        "mnist_784",
        554,
        (1, 28, 28),
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    "fashion_mnist": Source("Fashion-MNIST", 40996, (1, 28, 28), (6000,) * 10, (1000,) * 10),
    "cifar10": Source("CIFAR_10", 40927, (3, 32, 32), (5000,) * 10, (1000,) * 10),
}


def openml(name: str, *, flat: bool = False, timeout: float = 30.0) -> Dataset:
    """The images of `name` divided by 255, as float32, with the makers' division into training and test.

    `name` is "mnist" (60000 and 10000 images of 28 x 28), "fashion_mnist" (the same) or "cifar10" (50000
    and 10000 of 3 x 32 x 32, red, green, blue), or OpenML's name of one of these ("mnist_784",
    "Fashion-MNIST", "CIFAR_10"). Inputs are (rows, channels, height, width), or with `flat` vectors.

    The first call downloads (some 15 to 650 MB) through scikit-learn, which compares OpenML's checksum,
    and keeps pixels and classes in `cache_folder`; later calls read them there and compare the SHA-256
    noted beside. The numbers of images per class are checked in both parts. `timeout`: seconds without an
    answer from the network.

    Raises `DownloadError` where there is neither network nor cache, `MissingExtraError` without
    scikit-learn, `ArgumentError` for an unknown name.
    """
    key = next((k for k, s in SOURCES.items() if str(name) in (k, s.openml)), None)
    if key is None:
        raise unknown("data at OpenML", name, [*SOURCES, *(s.openml for s in SOURCES.values())])
    source = SOURCES[key]
    kept = cache_folder() / f"{key}.npz"
    found = _read(kept, source)
    if found is None:
        found = _download(key, source, kept, timeout)
        _write(kept, *found)
    pixels, classes = found
    images = pixels.reshape(-1, *source.shape) / np.float32(255)
    cut = sum(source.train)
    data = Dataset(key, images[:cut], classes[:cut], images[cut:], classes[cut:])
    return data.flat() if flat else data


def cache_folder() -> Path:
    """Where downloads are kept: in FPEMU_DATA if that is set, else in the user's cache folder."""
    said = os.environ.get("FPEMU_DATA")
    if said:
        return Path(said)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fpemu" / "data"


Images = tuple[np.ndarray, np.ndarray]


def _download(name: str, source: Source, kept: Path, timeout: float) -> Images:
    try:
        from sklearn.datasets import fetch_openml
    except ImportError:
        raise missing_extra("scikit-learn", f"the data set {name!r}", "data") from None
    try:
        with _answering_within(timeout), warnings.catch_warnings(action="ignore"):
            # It warns of each attempt that fails; what is said is the error below.
            bunch: Any = fetch_openml(
                data_id=source.number, as_frame=False, parser="liac-arff", n_retries=1, cache=False
            )
    except (OSError, ValueError) as error:  # no network; what comes is not what was announced
        said = getattr(error, "reason", None) or error
        raise DownloadError(
            f"the data set {name!r} is not kept at {str(kept)!r}, and OpenML did not give it: {said}; "
            "connect to the network and try again, or take 'mnist5k' (pip install 'fpemu[mnist]'), "
            "'digits', or a .npz file of your own"
        ) from None
    pixels, classes = np.asarray(bunch.data), np.asarray(bunch.target)
    try:
        found = pixels.astype(np.uint8), classes.astype(np.int64)
    except ValueError as error:
        raise DownloadError(f"what OpenML gave for {name!r} are not images: {error}") from None
    if not np.array_equal(found[0], pixels) or not _fits(*found, source):
        raise DownloadError(
            f"what OpenML gave for {name!r} is not what its makers describe: {len(pixels)} rows, or "
            "other numbers of images per class; nothing was kept"
        )
    return found


def _fits(pixels: np.ndarray, classes: np.ndarray, source: Source) -> bool:
    cut, rows = sum(source.train), sum(source.train) + sum(source.test)
    if pixels.shape != (rows, int(np.prod(source.shape))) or classes.shape != (rows,):
        return False
    parts = ((classes[:cut], source.train), (classes[cut:], source.test))
    return all(tuple(np.bincount(part, minlength=10)) == counts for part, counts in parts)


def _write(kept: Path, pixels: np.ndarray, classes: np.ndarray) -> None:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"cannot make the folder {str(kept.parent)!r}: {error.strerror}; set FPEMU_DATA to another"
        ) from None
    sha256 = np.frombuffer(_checksum(pixels, classes), np.uint8)
    with written_whole(kept) as out:
        np.savez_compressed(out, pixels=pixels, classes=classes.astype(np.uint8), sha256=sha256)


def _read(kept: Path, source: Source) -> Images | None:
    """What is kept; None if there is nothing, or not what it should be: it is then fetched anew."""
    try:
        content = kept.read_bytes()
    except OSError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            pixels, classes = stored["pixels"], stored["classes"].astype(np.int64)
            intact = stored["sha256"].tobytes() == _checksum(pixels, classes)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
        return None
    return (pixels, classes) if intact and _fits(pixels, classes, source) else None


def _checksum(pixels: np.ndarray, classes: np.ndarray) -> bytes:
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data)
    digest.update(classes.astype(np.uint8).data)
    return digest.digest()


@contextlib.contextmanager
def _answering_within(seconds: float) -> Iterator[None]:
    """scikit-learn sets no limit itself: a silent network would hold the program for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
