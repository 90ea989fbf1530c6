"""The recipes of integrations/, run as they are: chat, send the edit, see what was learned, chat again."""

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "integrations"
NODE = ROOT / "tests" / "e2e" / "node" / "node_modules"


def command(recipe: str) -> list[str]:
    """How a recipe is run: LlamaIndex's in an environment of its own, and Node's where its packages are found."""
    if recipe == "llamaindex":
        return [str(ROOT / ".venv-llamaindex" / "bin" / "python"), str(RECIPES / recipe / "recipe.py")]
    if recipe == "langchain":
        return [sys.executable, str(RECIPES / recipe / "recipe.py")]
    beside = NODE / ".recipes"
    beside.mkdir(exist_ok=True)
    shutil.copy(RECIPES / recipe / "recipe.mjs", beside)
    return [str(Path(sys.executable).with_name("node")), str(beside / "recipe.mjs")]


@pytest.mark.parametrize("recipe", ["langchain", "llamaindex", "vercel-ai-sdk"])
def test_recipes(server: str, recipe: str) -> None:
    run = [*command(recipe), server, f"user-{uuid.uuid4().hex[:8]}"]
    assert Path(run[0]).exists(), "make setup-dev installs it"
    done = subprocess.run(run, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert "Hello Anna," in said["draft"]
    assert said["status"] == "learned"
    assert "Greet with Dear." in said["learned"]
    assert "Dear Walter" in said["next"]


def test_recipes_are_short() -> None:
    paths = [*RECIPES.rglob("recipe.py"), *RECIPES.rglob("recipe.mjs")]
    assert len(paths) == 3
    for path in paths:
        assert len(path.read_text().splitlines()) < 60
