"""The README's session is executed, and its commands are the ones that CI runs."""

from __future__ import annotations

import doctest
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_session_prints_what_the_readme_says():
    results = doctest.testfile(
        str(ROOT / "README.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert results.attempted > 12
    assert results.failed == 0


def test_both_commands_are_marked_and_ci_reads_them():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for name in ("train", "test"):
        assert readme.count(f"<!-- command: {name} -->\n```sh\npython3 -m venv .venv && ") == 1
        assert f"readme_command {name}" in ci
