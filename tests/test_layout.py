"""A file owns one noun, and stays short enough to be read at once."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("server", "adapters", "preference", "store", "lab", "bench", "integrations", "deploy")
LINES = 300


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_outside_the_tests_is_long(folder: str) -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {path: lines for path, lines in lengths.items() if lines > LINES} == {}
