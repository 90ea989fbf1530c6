"""How likely a text is to the engine, over HTTP in vLLM's dialect. That vLLM's figures are right: tests/e2e."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from server.engine.client import Engine
from server.engine.refusals import AdapterGone
from server.engine.scorer import SCORED_AT_ONCE
from store.errors import EngineRejected, EngineUnavailable, ScoringUnavailable
from store.message import Message
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


async def test_texts_are_scored_a_few_at_a_time_and_answers_keep_their_order(engine: Engine, fake: FakeEngine) -> None:
    answers = [f"word {'x' * length}" for length in range(1, 20)]
    scored = await engine.score([(ASKED, answer) for answer in answers])
    assert [one.logprobs for one in scored] == [(-4.0, -float(length), -5.0) for length in range(1, 20)]
    assert len({one.tokens for one in scored}) == len(answers)
    assert fake.scored == [SCORED_AT_ONCE, SCORED_AT_ONCE, 19 - 2 * SCORED_AT_ONCE]


async def test_one_request_to_score_is_in_flight(engine: Engine, fake: FakeEngine) -> None:
    await asyncio.gather(*(engine.score([(ASKED, f"answer {number}")] * 9) for number in range(4)))
    assert len(fake.scored) == 8
    assert fake.most_scoring == 1


async def test_nothing_is_scored_without_a_request(engine: Engine, fake: FakeEngine) -> None:
    assert await engine.score([]) == []
    assert fake.scored == []


async def test_a_template_that_ends_no_turn_adds_no_token(engine: Engine, fake: FakeEngine) -> None:
    fake.ends_turns = False
    (scored,) = await engine.score([(ASKED, "It is tea")])
    assert scored.logprobs == (-2.0, -2.0, -3.0)


async def test_an_engine_that_scores_nothing_says_so(engine: Engine, fake: FakeEngine) -> None:
    fake.scores = "no"
    with pytest.raises(ScoringUnavailable, match="prompt_logprobs"):
        await engine.score([(ASKED, "tea")])
    fake.scores = "refuses"
    with pytest.raises(ScoringUnavailable, match="does not score texts: prompt_logprobs are not available"):
        await engine.score([(ASKED, "tea")])


async def test_an_engine_that_does_not_tokenize_scores_nothing(engine: Engine, fake: FakeEngine) -> None:
    fake.tokenizes = False
    with pytest.raises(ScoringUnavailable, match="does not tokenize"):
        await engine.score([(ASKED, "tea")])


async def test_an_engine_that_is_away_or_forgot_an_adapter_is_no_engine_that_cannot_score(
    engine: Engine, fake: FakeEngine
) -> None:
    with pytest.raises(AdapterGone):
        await engine.score([(ASKED, "tea")], model="u.v9")
    fake.away = True
    with pytest.raises(EngineUnavailable):
        await engine.score([(ASKED, "tea")])


async def test_an_adapter_is_asked_by_name_and_must_be_there(engine: Engine, fake: FakeEngine) -> None:
    fake.adapters["u.v1"] = "somewhere"
    assert await engine.nll(ASKED, "tea", model="u.v1") == pytest.approx(4.0)
    with pytest.raises(EngineRejected, match="does not exist"):
        await engine.nll(ASKED, "tea", model="u.v2")
