"""The documents tell the truth: the map, the settings, the links and the names; and they stay short."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.commands.settings_list import settings_markdown

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("server", "adapters", "preference", "store", "lab", "bench")
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
WRITTEN = (README, ROOT / "CONTRIBUTING.md", *PAGES)


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path for path in (ROOT / package).rglob("*.py") if "versions" not in path.parent.parts)


def slugs(page: Path) -> set[str]:
    """The anchors that a renderer makes of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def unfilled(page: Path) -> str:
    """A page without what commands write between their marks."""
    return re.sub(r"<!-- ([\w-]+) -->.*?<!-- /\1 -->", "", page.read_text(), flags=re.DOTALL)


def test_the_map_names_every_folder_and_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = text[text.index("```") : text.rindex("```")]
    names = {path.name for path in modules()}
    assert set(re.findall(r"\b\w+\.py\b", tree)) <= names
    folders = {path.parent.name for path in modules()}
    assert folders <= set(re.findall(r"\b(\w+)/(?=\s)", tree))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_owns(package: str) -> None:
    silent = [p for p in modules() if package in p.relative_to(ROOT).parts and not ast.get_docstring(_tree(p))]
    assert silent == []


def test_the_page_of_settings_is_fresh() -> None:
    page = ROOT / "docs" / "settings.md"
    assert page.read_text() == settings_markdown(), "run: attune settings --markdown > docs/settings.md"


def test_settings_that_pages_name_exist() -> None:
    known = set(re.findall(r"^- `(ATTUNE_\w+)`", settings_markdown(), re.MULTILINE))
    code = "\n".join(path.read_text() for path in modules())
    for page in WRITTEN:
        named = set(re.findall(r"\bATTUNE_[A-Z_]*[A-Z]\b", page.read_text()))
        strange = {name for name in named - known if name not in code and not any(k.startswith(name) for k in known)}
        assert strange == set(), page.name


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_files_and_anchors_that_pages_link_to_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in slugs(linked), target


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    named = set(
        re.findall(r"(?<![\w/.(-])(?:server|adapters|preference|store|lab|bench|tests|docs|deploy)/[\w/]+\.\w+", text)
    )
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_readme_and_the_pages_stay_short() -> None:
    """What commands write is not counted: the page of settings, and what stands between their marks."""
    assert len(README.read_text().split()) <= 700
    by_hand = [unfilled(page) for page in PAGES if page.name != "settings.md"]
    assert sum(len(text.encode()) for text in by_hand) <= 90_000


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_lines_stay_short(page: Path) -> None:
    assert [line for line in unfilled(page).splitlines() if len(line) > 160] == []


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


def test_no_placeholder_is_left() -> None:
    assert [page.name for page in WRITTEN if "@@" in page.read_text()] == []


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())
