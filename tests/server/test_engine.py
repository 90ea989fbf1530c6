"""How likely a text is to the engine, over HTTP in vLLM's dialect. That vLLM's figures are right: tests/e2e."""

from collections.abc import AsyncIterator, Iterator

import pytest

from preference.errors import EngineRejected
from preference.prompt import Message
from server.engine import Engine
from tests.server.fake_engine import MODEL, FakeEngine


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    with FakeEngine() as fake:
        yield fake


@pytest.fixture
async def engine(fake: FakeEngine) -> AsyncIterator[Engine]:
    engine = Engine(fake.url, base_model=MODEL)
    yield engine
    await engine.close()


ASKED: list[Message] = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "What is it?"}]


@pytest.mark.parametrize("answer", ["It is tea", "tea", "", "What is it? What is it?"])
async def test_the_tokens_of_the_answer_and_its_end_count(engine: Engine, answer: str) -> None:
    """The scripted engine takes a token to be the less likely the longer it is."""
    tokens = [*answer.split(), "<end>"]
    expected = sum(map(len, tokens)) / len(tokens)
    assert await engine.nll(ASKED, answer) == pytest.approx(expected)


async def test_an_adapter_is_asked_by_name_and_must_be_there(engine: Engine, fake: FakeEngine) -> None:
    fake.adapters["u.v1"] = "somewhere"
    assert await engine.nll(ASKED, "tea", model="u.v1") == pytest.approx(4.0)
    with pytest.raises(EngineRejected, match="does not exist"):
        await engine.nll(ASKED, "tea", model="u.v2")
