"""One's own documents as an environment, and a language model as the user: a scripted engine plays the model."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from openai import APIError

from lab.prelude.documents import MAX_BYTES, MAX_FILES, MAX_KINDS, STYLES, TASK, make
from lab.prelude.llm_user import LLMUser
from lab.prelude.ports import Environment
from tests.server.fake_engine import MODEL, FakeEngine, Script

WISHES = ("Use bullet points.", "Be brief.")


class Shouting:
    """A user who wants capitals, and says what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[str], str]] = []

    async def edit(self, wishes: Sequence[str], request: str, draft: str) -> str:
        self.asked.append((wishes, request))
        return draft.upper()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind, number in (("letters", 3), ("memos", 2), ("notes", 1)):
        (tmp_path / kind).mkdir()
        for i in range(number):
            (tmp_path / kind / f"{i}{'.md' if i else '.txt'}").write_text(f"{kind} {i}\n")
    (tmp_path / "memos" / "style.txt").write_text("Be brief.\n\n  Use bullet points.\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / "memos" / "scan.pdf").write_bytes(b"%PDF")
    return tmp_path


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running


async def test_folders_become_kinds_and_files_requests(folder: Path) -> None:
    environment: Environment = make(folder, seed=1, rounds=12, user=Shouting())
    counts = Counter((r.kind, r.text) for r in environment.rounds)
    assert {kind for kind, _ in counts} == {"letters", "memos", "notes"}
    assert counts["notes", f"{TASK}\n\nnotes 0"] == 4
    assert all(counts["memos", f"{TASK}\n\nmemos {i}"] == 2 for i in range(2))
    assert sorted(counts["letters", f"{TASK}\n\nletters {i}"] for i in range(3)) == [1, 1, 2]


async def test_the_user_edits_by_the_kinds_style_and_edits_cost_words(folder: Path) -> None:
    user = Shouting()
    environment = make(folder, seed=1, rounds=6, user=user)
    memo = next(r for r in environment.rounds if r.kind == "memos")
    assert environment.wants(memo) == ("Be brief.", "Use bullet points.")
    assert await environment.edit(memo, "two words") == "TWO WORDS"
    assert user.asked == [(("Be brief.", "Use bullet points."), memo.text)]
    assert environment.cost(memo, "two words", "TWO WORDS") == 2
    assert await environment.edit(memo, "FINE ALREADY") == "FINE ALREADY"


def test_styles_are_drawn_by_the_seed_and_differ(folder: Path) -> None:
    drawn = {s: make(folder, seed=s, rounds=6, user=Shouting()).styles for s in range(5)}
    assert drawn[1] == make(folder, seed=1, rounds=6, user=Shouting()).styles
    assert len({tuple(map(tuple, styles.values())) for styles in drawn.values()}) > 1
    for styles in drawn.values():
        assert styles["letters"] != styles["notes"]
        assert {tuple(styles["letters"]), tuple(styles["notes"])} <= set(STYLES)


def test_the_task_may_be_ones_own(folder: Path) -> None:
    (folder / "task.txt").write_text("Reply to this letter.")
    environment = make(folder, seed=0, rounds=3, user=Shouting())
    assert all(r.text.startswith("Reply to this letter.\n\n") for r in environment.rounds)


def test_what_is_wrong_with_a_folder_is_said(folder: Path) -> None:
    def refuses(says: str, where: Path = folder, rounds: int = 3) -> None:
        with pytest.raises(ValueError, match=says):
            make(where, seed=0, rounds=rounds, user=Shouting())

    refuses("at least one round", rounds=0)
    refuses("There is no folder", folder / "nowhere")
    refuses(f"needs 1 to {MAX_KINDS} subfolders.* it has 0", folder / "memos")
    note = folder / "notes" / "0.txt"
    note.write_text("x" * (MAX_BYTES + 1))
    refuses(f"0.txt has {MAX_BYTES + 1} bytes; {MAX_BYTES} is the most")
    note.write_bytes(b"caf\xe9")
    refuses("0.txt cannot be read: it is not UTF-8")
    note.write_text("  \n")
    refuses("0.txt is empty")
    note.unlink()
    refuses(f"notes needs 1 to {MAX_FILES} files .* it has 0")
    for i in range(MAX_KINDS):
        (folder / f"more {i}").mkdir()
    refuses(f"it has {MAX_KINDS + 3}")


async def test_a_model_that_is_content_leaves_the_draft(engine: FakeEngine) -> None:
    user = LLMUser(f"{engine.url}/v1", MODEL, "secret")
    engine.enqueue(Script(["Yes", "."]))
    assert await user.edit(WISHES, "Sum up {this}.", "- the {draft}") == "- the {draft}"
    (asked,) = engine.requests
    prompt = asked["messages"][0]["content"]
    for part in ("- Use bullet points.\n- Be brief.\n", "Sum up {this}.", "- the {draft}"):
        assert part in prompt
    assert asked["temperature"] == 0
    assert engine.headers[0]["Authorization"] == "Bearer secret"
    await user.close()


async def test_a_model_that_is_not_rewrites_once_for_each_draft(engine: FakeEngine) -> None:
    user = LLMUser(f"{engine.url}/v1", MODEL)
    engine.enqueue(Script(["**No**, it has no bullets."]), Script(["- the", " draft\n"]))
    for _ in range(2):
        assert await user.edit(WISHES, "Sum up this.", "the draft") == "- the draft"
    assert len(engine.requests) == 2
    engine.enqueue(Script(["yes"]))
    assert await user.edit(WISHES, "Sum up that.", "the draft") == "the draft"
    assert len(engine.requests) == 3
    await user.close()


async def test_a_model_that_says_nothing_is_an_error_and_not_a_free_round(engine: FakeEngine) -> None:
    user = LLMUser(f"{engine.url}/v1", MODEL)
    engine.enqueue(Script(["no"]), Script(["  "]))
    with pytest.raises(ValueError, match="gave no whole text"):
        await user.edit(WISHES, "Sum up this.", "the draft")
    engine.enqueue(Script(status=404, error="no such model"))
    with pytest.raises(APIError, match="no such model"):
        await user.edit(WISHES, "Sum up this.", "the draft")
    await user.close()


async def test_documents_and_a_model_play_together(engine: FakeEngine, folder: Path) -> None:
    user = LLMUser(f"{engine.url}/v1", MODEL)
    environment = make(folder, seed=2, rounds=3, user=user)
    engine.enqueue(Script(["no"]), Script(["- the draft"]))
    edited = await environment.edit(environment.rounds[0], "the draft")
    assert environment.cost(environment.rounds[0], "the draft", edited) == 1
    await user.close()
