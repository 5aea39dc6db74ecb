"""The generated files in the repository are what the code says."""

from __future__ import annotations

import pytest

from cli import generate

FILES = generate.files()


@pytest.mark.parametrize("name", FILES)
def test_a_committed_file_is_what_the_code_says(name: str) -> None:
    committed = (generate.ROOT / name).read_text(encoding="utf-8")
    assert committed == FILES[name], f"{name} is out of date. Run: make docs"
