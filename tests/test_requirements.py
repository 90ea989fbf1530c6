"""What is installed is what was locked: by hash, whichever index it comes from."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def requirements(text: str) -> list[str]:
    """One string a requirement, with what its continued lines say."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_each_package_is_pinned_with_its_hashes(lock: Path) -> None:
    found = requirements(lock.read_text())
    assert found
    for requirement in found:
        assert re.match(r"[A-Za-z0-9._-]+===?[^\s;]+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+(\s+#.*)?$", requirement)


def test_every_lock_is_installed_with_hashes_required() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "--require-hashes" in makefile
    installs = [line for line in makefile.splitlines() if re.search(r"install\b.* -r ", line)]
    assert {name for line in installs for name in re.findall(r"requirements/([a-z-]+\.txt)", line)} == {
        lock.name for lock in LOCKS
    }
    assert all("$(LOCKED)" in line for line in installs)
    resolved = [line for line in makefile.splitlines() if re.search(r"\bpip\b.*\binstall\b|\$\(PIP\) install", line)]
    assert all("$(LOCKED)" in line or "-e ." in line for line in resolved)


def test_an_image_is_built_from_a_digest_and_no_second_index() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "ARG BASE\nFROM ${BASE} AS base\n" in dockerfile  # no default: the caller names a digest
    for name in ("Dockerfile", "Makefile", *(f"requirements/{path.name}" for path in LOCKS)):
        assert not re.search("extra.index|trusted.host", (ROOT / name).read_text(), re.IGNORECASE), name
