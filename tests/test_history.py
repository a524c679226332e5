"""History: CSV, JSON, pictures."""

from __future__ import annotations

import csv
import json
import math
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import fpemu as fp
from fpemu.data import xor
from fpemu.training import History
from fpemu.training.curves import bars, svg
from fpemu.training.plots import plot


def trained(policy="fp16", epochs=3):
    fp.manual_seed(0)
    return fp.train(fp.nn.mlp([2, 8, 2]), xor(60), policy=policy, epochs=epochs)


@pytest.fixture(scope="module")
def history():
    return trained()


def odd():
    """A history with everything that JSON and CSV have no word for."""
    rows = [
        {"epoch": 1, "train_loss": math.inf, "test_loss": math.nan, "test_accuracy": None},
        {"epoch": 2, "train_loss": 0.1, "test_loss": 1e-300, "test_accuracy": 1.0},
    ]
    first = {"step": 1, "parameter": "0.weight"}
    return History(
        fp.policies["fp16"], rows, first_nonfinite=first, losses=[math.nan, -math.inf, 0.1]
    )


def test_csv_holds_every_digit(history, tmp_path):
    text = history.to_csv(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text() == text
    read = list(csv.DictReader(text.splitlines()))
    assert [int(row["epoch"]) for row in read] == [1, 2, 3]
    for column in ("train_loss", "test_loss", "test_accuracy", "seconds"):
        assert [float(row[column]) for row in read] == [row[column] for row in history.rows]
    read = list(csv.DictReader(odd().to_csv().splitlines()))
    assert (read[0]["train_loss"], read[0]["test_accuracy"]) == ("inf", "")
    empty = History(fp.policies["fp16"]).to_csv()
    assert empty == "epoch,train_loss,test_loss,test_accuracy,seconds\n"


def test_json_comes_back_the_same(history, tmp_path):
    for h in (history, odd()):
        text = h.to_json(tmp_path / "h.json")

        def refuse(word):
            raise AssertionError(f"{word} is not standard JSON")

        json.loads(text, parse_constant=refuse)
        for source in (text, tmp_path / "h.json", str(tmp_path / "h.json")):
            back = History.from_json(source)
            assert back.to_json() == text
            assert back.policy == h.policy
            assert back.trace.to_dicts() == h.trace.to_dicts()
            assert np.array_equal(back.losses, h.losses, equal_nan=True)
    assert math.isnan(back.rows[0]["test_loss"])
    assert back.rows[0]["test_accuracy"] is None
    assert len(history.losses) == history.steps == 6


@pytest.mark.parametrize("bad", ["{}", '{"rows": 3}', "{", "nowhere.json"])
def test_other_json_is_refused(bad):
    with pytest.raises(fp.ArgumentError, match=r"this is no history|cannot read"):
        History.from_json(bad)


def test_files_are_written_whole_or_not_at_all(history, tmp_path, monkeypatch):
    import os

    (tmp_path / "h.csv").write_text("former")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(fp.ArgumentError, match=r"cannot write .*h\.csv': No space left on device"):
        history.to_csv(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text() == "former"
    assert [p.name for p in tmp_path.iterdir()] == ["h.csv"]


def test_pictures_without_a_plotting_library(history):
    html = history._repr_html_()
    picture = ET.fromstring(html[: html.index("</svg>") + 6])
    lines = [e for e in picture.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 3  # training loss, test loss, test accuracy
    # Points of the accuracy, read back from the picture, are those of the history up to its axes.
    heights = np.array([float(p.split(",")[1]) for p in lines[2].get("points").split()])
    values = np.array([row["test_accuracy"] for row in history.rows])
    if np.ptp(values):
        slope = (heights[-1] - heights[0]) / (values[-1] - values[0] or 1)
        assert slope <= 0
    assert "<table>" in html
    assert svg({"none": History(history.policy)}) == ""
    ET.fromstring(svg({"a<b": history, "odd": odd()}))
    one = svg({"one": trained(epochs=1)})
    assert one.count("<circle") == 3


def test_bars_of_text():
    assert bars([0, 7, 3.5]) == "▁█▅"
    assert bars([2.0, 2.0]) == "▁▁"
    assert bars([]) == ""
    assert bars(range(100), width=5) == "▁▃▅▆█"


def test_plots_by_matplotlib(history, tmp_path):
    for suffix, start in [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]:
        path = tmp_path / f"curves{suffix}"
        figure = history.plot(path)
        assert path.read_bytes().startswith(start)
    losses, accuracies = figure.axes
    for line, column in zip(losses.lines, ("train_loss", "test_loss"), strict=True):
        assert line.get_ydata().tolist() == [row[column] for row in history.rows]
        assert line.get_xdata().tolist() == [1, 2, 3]
    assert len(accuracies.lines) == 1
    both = plot({"fp16": history, "odd": odd()})
    assert [line.get_label() for line in both.axes[1].lines] == ["fp16", "odd"]
    with pytest.raises(fp.ArgumentError, match=r"unknown kind of picture '\.gif'"):
        history.plot(tmp_path / "curves.gif")


def test_a_missing_plotting_library_is_said(history, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(fp.MissingExtraError, match=r"pip install 'fpemu\[plots\]'"):
        history.plot()
