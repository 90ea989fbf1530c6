"""Whether a chat template has a system role is read off the served folder, unless the operator says it."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from server.engine.system_role import has_system_role
from server.settings import BUNDLED_MODEL, Settings

TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
TEMPLATES = {
    "plain": (TURNS, True),
    "refuses": (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS,
        False,
    ),
    "drops it": ("{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}", False),
    "first is the user's": (
        "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m['content'] }}{% endfor %}",
        False,
    ),
    "in the user's turn": (
        "{% set wish = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
        "{% for m in messages if m['role'] != 'system' %}{{ wish }} {{ m['content'] }}{% endfor %}",
        True,
    ),
    "broken": ("{{ raise_exception('never') }}", True),
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tokenizer, to which a template can be written."""
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED_MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def set_template(model: Path, template: str) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))


@pytest.mark.parametrize(("template", "found"), TEMPLATES.values(), ids=TEMPLATES)
def test_the_template_shows_it(model: Path, template: str, found: bool) -> None:
    set_template(model, template)
    assert has_system_role(Settings(model=str(model))) is found


def test_the_bundled_models_template_has_one() -> None:
    assert has_system_role(Settings()) is True


def test_what_the_operator_says_wins(model: Path, tmp_path: Path) -> None:
    set_template(model, TEMPLATES["refuses"][0])
    assert has_system_role(Settings(model=str(model), system_role=True)) is True
    assert has_system_role(Settings(engine_url="http://x", system_role=False)) is False
    given = tmp_path / "given.jinja"
    given.write_text(TURNS)
    assert has_system_role(Settings(model=str(model), engine_args=f"--chat-template {given}")) is True
    assert has_system_role(Settings(model=str(model), engine_args=f"--chat-template={shlex.quote(TURNS)}")) is True


def test_a_remote_engines_template_is_taken_to_have_one(model: Path) -> None:
    set_template(model, TEMPLATES["refuses"][0])
    assert has_system_role(Settings(engine_url="http://x", model=str(model))) is True


def test_a_folder_without_a_tokenizer_is_vllms_to_refuse(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert has_system_role(Settings(model=str(tmp_path))) is True
    assert "chat template" in caplog.text
