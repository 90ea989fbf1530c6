"""Bodies of many values or many mistakes: refused before each of them becomes an object."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from server.dialects.chat import ChatRequest
from server.dialects.completions import CompletionRequest
from server.dialects.messages import MessagesRequest
from server.dialects.responses import ResponsesRequest
from server.fine_tuning import EDITS, CreateJob
from server.given import EditRequest, ThumbsRequest
from server.http.body import MAX_ERRORS, MAX_OTHER_VALUES, MAX_VALUES, check_values, mistakes
from server.routes.preferences import ChangePreference, SearchPreferences, StatePreference
from server.routes.users import StandingValues
from store.errors import Invalid
from tests.server.conftest import Running, ask
from tests.server.fake_engine import MODEL
from tests.server.http.test_errors import AS_ANN, check

BODIES: list[type[BaseModel]] = [
    ChatRequest, CompletionRequest, ResponsesRequest, MessagesRequest, CreateJob, EditRequest, ThumbsRequest,
    StatePreference, ChangePreference, SearchPreferences, StandingValues,
]  # fmt: skip


def models(kind: Any) -> Iterator[type[BaseModel]]:
    """The models that a body of this kind is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from models(field.annotation)
    else:
        for part in get_args(kind):
            yield from models(part)


FIELDS = sorted({(part, name) for body in BODIES for part in models(body) for name in part.model_fields}, key=str)


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=[f"{model.__name__}.{name}" for model, name in FIELDS])
def test_of_every_field_the_first_mistakes_are_enough(model: type[BaseModel], name: str) -> None:
    items: list[Any] = [0, "x", {"strange": 0}, {}, None]
    many: list[Any] = [*([item] * 3000 for item in items), {f"k{i}": [] for i in range(3000)}]
    for value in many:
        try:
            model.model_validate_json(json.dumps({name: value}))
        except ValidationError as error:
            found = [one for one in error.errors() if one["loc"][:1] == (name,)]
            assert len(found) <= 8 or "extra_forbidden" in {one["type"] for one in found}  # see the next test


def test_of_many_mistakes_their_number_is_told() -> None:
    right = {"model": MODEL, "training_file": EDITS}
    with pytest.raises(ValidationError) as raised:
        CreateJob.model_validate({**right, **{f"k{i}": 0 for i in range(MAX_ERRORS)}})
    assert [one["loc"] for one in mistakes(raised.value).errors()] == [("body", f"k{i}") for i in range(MAX_ERRORS)]
    with pytest.raises(ValidationError) as raised:
        CreateJob.model_validate({**right, **{f"k{i}": 0 for i in range(MAX_ERRORS + 1)}})
    (told,) = mistakes(raised.value).errors()
    assert told["msg"] == f"The body has {MAX_ERRORS + 1} mistakes, too many to name one."


def test_of_a_generations_unknown_fields_the_first_is_enough() -> None:
    raw = json.dumps({**ask(), **{f"k{i}": 0 for i in range(MAX_ERRORS + 1)}})
    with pytest.raises(ValidationError) as raised:
        ChatRequest.parse(raw.encode())
    (told,) = mistakes(raised.value).errors()
    assert (told["type"], told["loc"]) == ("extra_forbidden", ("body", "k0"))


@pytest.mark.parametrize("text", ["a,b," * MAX_VALUES, 'he said \\"yes, no\\", ' * MAX_VALUES, "\\\\"])
def test_commas_in_texts_are_no_values(text: str) -> None:
    check_values(f'["{text}", "{text}"]'.encode(), 2)
    with pytest.raises(Invalid):
        check_values(f'["{text}", 1, 2, 3]'.encode(), 2)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/chat/completions", {**ask(), "messages": [0] * (MAX_VALUES + 2)}),
        ("POST", "/v1/chat/completions", {**ask(), **{f"k{i}": 0 for i in range(MAX_VALUES + 1)}}),
        ("POST", "/v1/responses", {"model": "fake-model", "input": [{}] * (MAX_VALUES + 2)}),
        ("POST", "/v1/feedback", {"type": "edit", **{f"k{i}": 0 for i in range(MAX_OTHER_VALUES + 1)}}),
        ("PUT", "/v1/users/ann/values", {"values": [0] * (MAX_OTHER_VALUES + 2)}),
        ("POST", "/v1/users/ann/preferences", {"text": [0] * (MAX_OTHER_VALUES + 2)}),
        ("POST", "/v1/fine_tuning/jobs", {f"k{i}": 0 for i in range(MAX_OTHER_VALUES + 2)}),
    ],
)
def test_a_body_of_too_many_values_is_refused(method: str, path: str, body: Any, running: Running) -> None:
    answer = running.http(headers=AS_ANN).request(method, path, json=body)
    assert "JSON values at most" in check(answer, 400)
