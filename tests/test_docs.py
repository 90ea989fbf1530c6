"""The documents tell the truth: every module stands in the map, every setting in the README, with its words."""

import re
from pathlib import Path

from server.cli import settings_markdown

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("server", "adapters", "preference", "lab", "bench")


def modules() -> set[str]:
    found = {p.name for package in PACKAGES for p in (ROOT / package).rglob("*.py") if "migrations" not in p.parts}
    return {name for name in found if not name.startswith("__")}


def test_the_map_names_every_module_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = text[text.index("```") : text.rindex("```")]
    assert set(re.findall(r"\b\w+\.py\b", tree)) == modules()


def test_the_readme_has_every_setting() -> None:
    text = (ROOT / "README.md").read_text()
    table = text[text.index("<!-- settings -->") : text.index("<!-- /settings -->")]
    assert settings_markdown() in table, "run: attune settings --markdown"


def test_files_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\b(?:server|adapters|preference|lab|tests|docs)/[\w/]+\.\w+", text))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_each_row_of_adoption_has_a_test_or_says_that_it_was_not_tried() -> None:
    lines = (ROOT / "docs" / "adoption.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    assert len(rows) > 20
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for client, *_, tried in rows:
        named = re.findall(r"`(test_\w+|tests/[\w/]+\.py)`", tried)
        assert named or tried == "not tried", client
        for name in named:
            assert (ROOT / name).exists() if "/" in name else f"def {name}(" in written, name


def test_no_placeholder_is_left_in_the_readme() -> None:
    assert "@@" not in (ROOT / "README.md").read_text()
