"""What an installed Attune must import, and what it must not."""

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("server", "adapters", "preference", "store", "lab")
"""What the wheel installs."""


def run(code: str, folder: Path, status: int = 0) -> str:
    """Output of ``code`` in a fresh interpreter started in ``folder``, away from the checkout; errors' if it fails."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return (done.stderr if status else done.stdout).strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_imported_are_ours(package: str, tmp_path: Path) -> None:
    """`adapters` is also the import name of a package that transformers once used: it must never shadow ours."""
    found = run(f"import {package}; print({package}.__file__)", tmp_path)
    assert Path(found) == ROOT / package / "__init__.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_brings_a_package_of_our_name(package: str) -> None:
    """Two distributions with one import name overwrite each other's files, and pip says nothing: none is locked."""
    assert set(packages_distributions().get(package, ())) <= {"attune"}
    for lock in (ROOT / "requirements").glob("lock-*.txt"):
        assert f"\n{package}==" not in lock.read_text(), lock.name


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_told_to_who_imports_a_package(package: str) -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in data[package]


def test_the_command_leaves_the_lab_alone_until_asked(tmp_path: Path) -> None:
    """Commands of the lab come by entry point: importing ours must not import them."""
    loaded = run("import server.cli, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))", tmp_path)
    assert "server" in loaded.split()
    assert {"lab", "bench", "vllm"}.isdisjoint(loaded.split())


def command(name: str) -> EntryPoint:
    """A command as the package declares it."""
    group = "attune.commands"
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][group]
    return EntryPoint(name, declared[name], group)


@pytest.mark.parametrize("name", ["lab", "demo"])
def test_plug_in_commands_resolve(name: str) -> None:
    assert command(name).load().info is not None


def test_without_the_extra_the_server_is_there_and_the_lab_says_what_to_install(tmp_path: Path) -> None:
    lab = command("lab")
    code = f"""
import sys
from importlib.metadata import EntryPoint, packages_distributions
sys.modules["matplotlib"] = sys.modules["openai"] = None
import server.app
from server import cli
cli._plugins = lambda: {{"lab": EntryPoint("lab", {lab.value!r}, {lab.group!r})}}
cli.app(["lab", "bench"])
"""
    said = " ".join(run(code, tmp_path, status=1).split())
    assert "`attune lab` cannot be loaded" in said
    assert "pip install 'attune[lab]'" in said


def test_transformers_imports_beside_this_torch(tmp_path: Path) -> None:
    """A torchvision built for another torch breaks this import, which is why the CPU set-up leaves it out."""
    assert run("from transformers import LlamaForCausalLM; print(LlamaForCausalLM.__name__)", tmp_path)
