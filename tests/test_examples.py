"""Every example runs with --quick, prints something, and stays short."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path):
    assert len(path.read_text().splitlines()) <= 80
    command = [sys.executable, str(path), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


LESSONS = sorted((Path(__file__).parents[1] / "examples").glob("*.md"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name)
def test_lesson(path):
    results = doctest.testfile(
        str(path), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert results.attempted > 15
    assert results.failed == 0
