"""What an installed Attune must import, and what it must not."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(code: str, folder: Path) -> str:
    """Standard output of ``code`` in a fresh interpreter started in ``folder``, away from the checkout."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", ["server", "adapters", "preference", "lab"])
def test_the_packages_imported_are_ours(package: str, tmp_path: Path) -> None:
    """`adapters` is also the import name of a package that transformers once used: it must never shadow ours."""
    found = run(f"import {package}; print({package}.__file__)", tmp_path)
    assert Path(found) == ROOT / package / "__init__.py"


def test_the_command_leaves_the_lab_alone_until_asked(tmp_path: Path) -> None:
    """Commands of the lab come by entry point: importing ours must not import them."""
    loaded = run("import server.cli, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))", tmp_path)
    assert "server" in loaded.split()
    assert {"lab", "bench", "vllm"}.isdisjoint(loaded.split())


@pytest.mark.parametrize("name", ["lab", "demo"])
def test_plug_in_commands_resolve(name: str) -> None:
    (command,) = entry_points(group="attune.commands", name=name)
    assert command.load().info is not None


def test_transformers_imports_beside_this_torch(tmp_path: Path) -> None:
    """A torchvision built for another torch breaks this import, which is why the CPU set-up leaves it out."""
    assert run("from transformers import LlamaForCausalLM; print(LlamaForCausalLM.__name__)", tmp_path)
