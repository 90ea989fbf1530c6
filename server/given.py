"""The bodies of ``POST /v1/feedback``, one of each kind, and what each is to the rows."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from preference.feedback import given
from preference.feedback.given import Given
from server.dialects.chat import ChatMessage
from server.dialects.generation import check_count, check_parts
from server.http.body import Items, few
from server.settings import Settings
from store.errors import Invalid
from store.feedback_kinds import Type

MAX_TAGS, MAX_METADATA = 16, 16


class Body(BaseModel):
    """What all kinds have: whose it is, who says it, and how much it weighs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: Literal["user", "app", "model"] = Field(
        default="user", description="Who says it: the user, the app for them, or a model, which counts half."
    )
    weight: float = Field(default=1.0, ge=0, le=1, description="How much it counts; 0: it is kept, and says nothing.")
    tags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=given.MAX_NAME)]], Field(max_length=MAX_TAGS)
    ] = Field(default_factory=list, description="Your own words, kept with it and exported.", examples=[["beta"]])
    user: str | None = None
    safety_identifier: str | None = None
    metadata: (
        Annotated[dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], few(MAX_METADATA)]
        | None
    ) = Field(default=None, description="Kept as it is; `user_id` in it names the user, where nothing else does.")

    @property
    def about(self) -> Sequence[str]:
        """The ids of the answers, or the app's own names of them; none where it is about no answer."""
        return ()

    def check(self, settings: Settings) -> None:
        """Raise ``Invalid`` where the server's limits are not kept."""

    def given(self) -> Given:
        """As the rows take it. Raises ``Invalid`` naming the field."""
        raise NotImplementedError

    @property
    def shared(self) -> dict[str, Any]:
        """What all kinds have, as the rows take it."""
        kept: Mapping[str, Any] = {"source": self.source, "weight": self.weight, "metadata": self.metadata}
        return {**kept, "tags": tuple(self.tags)}

    @property
    def digested(self) -> str:
        """What repeats under one Idempotency-Key have alike: the body, less later versions' fields that are not set."""
        later = {"source", "weight", "tags"} - self.model_fields_set
        return self.model_dump_json(exclude=later)


class AboutAnswer(Body):
    """Which answer feedback is about."""

    completion_id: str = Field(
        min_length=1,
        max_length=128,
        description="The `id` of the answer, or the `attune.client_id` of its request.",
        examples=["chatcmpl-9f2c"],
    )
    choice: int = Field(default=0, ge=0, lt=2**31, description="Which of the answer's choices.")

    @property
    def about(self) -> Sequence[str]:
        """``completion_id``."""
        return [self.completion_id]

    @property
    def shared(self) -> dict[str, Any]:
        """With the answer."""
        return {**super().shared, "completion_id": self.completion_id, "choice": self.choice}


class EditRequest(AboutAnswer):
    """What the user made of an answer."""

    type: Literal["edit"]
    edited_text: str = Field(description="The text the user really sent.", examples=["Hi Ann, see you at 9. Bo"])

    def check(self, settings: Settings) -> None:
        """Raise ``Invalid`` for too long a text."""
        _short(self.edited_text, "edited_text", settings)

    def given(self) -> Given:
        """An edit."""
        return Given("edit", edited_text=self.edited_text, **self.shared)


class ThumbsRequest(AboutAnswer):
    """Whether the user liked an answer."""

    type: Literal["thumbs"]
    thumb: given.UpOrDown = Field(description="The answer is right, or wrong.", examples=["up"])

    def given(self) -> Given:
        """A thumb."""
        return Given("thumbs", thumb=self.thumb, **self.shared)


class DemonstrationRequest(Body):
    """A text of the user's own for a request that this server did not answer."""

    type: Literal["demonstration"]
    messages: Items[ChatMessage] = Field(
        min_length=1,
        description="The request, as a chat's messages.",
        examples=[[{"role": "user", "content": "Write to Ann that the meeting is at 9."}]],
    )
    text: str = Field(description="What the user wrote for it.", examples=["Hi Ann, see you at 9. Bo"])

    def check(self, settings: Settings) -> None:
        """Raise ``Invalid`` for too long a text, too many messages, or media."""
        _short(self.text, "text", settings)
        check_count(self.messages, settings, "messages")
        for place, message in enumerate(self.messages):
            check_parts(message.content, settings, f"messages.{place}.content")

    def given(self) -> Given:
        """A demonstration."""
        return given.demonstration([message.as_sent() for message in self.messages], self.text, **self.shared)


class CommentRequest(AboutAnswer):
    """What the user says about an answer."""

    type: Literal["comment"]
    comment: str = Field(
        max_length=given.MAX_COMMENT, description="In the user's words.", examples=["Too long, and never say 'kindly'."]
    )

    def given(self) -> Given:
        """A comment."""
        return given.comment(self.comment, **self.shared)


class RatingRequest(AboutAnswer):
    """A number that the user gives an answer."""

    type: Literal["rating"]
    rating: int = Field(ge=1, le=10, description="A whole number of the scale.", examples=[5])
    scale: given.Scale = Field(default="1-7", description="The scale that it is on; the largest number is the best.")
    aspect: str | None = Field(
        default=None,
        min_length=1,
        max_length=given.MAX_NAME,
        description="What of the answer is rated; by default all of it.",
        examples=["tone"],
    )

    def given(self) -> Given:
        """A rating."""
        return given.rating(self.rating, scale=self.scale, aspect=self.aspect, **self.shared)


class RankingRequest(Body):
    """Answers to one request, the best first."""

    type: Literal["ranking"]
    completion_ids: list[Annotated[str, Field(min_length=1, max_length=128)]] | None = Field(
        default=None,
        max_length=given.MAX_RANKED,
        description="The answers' ids, the best first; of each its first choice.",
        examples=[["chatcmpl-9f2c", "chatcmpl-77a0"]],
    )
    completion_id: str | None = Field(
        default=None, min_length=1, max_length=128, description="One answer, whose `choices` are ranked instead."
    )
    choices: list[Annotated[int, Field(ge=0, lt=2**31)]] | None = Field(
        default=None, max_length=given.MAX_RANKED, description="The numbers of its choices, the best first."
    )

    def check(self, settings: Settings) -> None:
        """Raise ``Invalid`` unless it ranks answers in one of the two ways."""
        one = (self.completion_id is not None, self.choices is not None)
        if any(one) if self.completion_ids is not None else not all(one):
            raise Invalid("Give completion_ids, or completion_id with choices.", param="completion_ids")

    @property
    def about(self) -> Sequence[str]:
        """All of them."""
        return self.completion_ids or ([self.completion_id] if self.completion_id else [])

    def given(self) -> Given:
        """A ranking."""
        if self.completion_ids is not None:
            return given.ranking([(id, 0) for id in self.completion_ids], "completion_ids", **self.shared)
        assert self.completion_id is not None
        ranked = [(self.completion_id, choice) for choice in self.choices or ()]
        return given.ranking(ranked, "choices", **self.shared)


class SignalRequest(AboutAnswer):
    """What the user did with an answer."""

    type: Literal["signal"]
    signal: given.Signal = Field(
        description="`accepted`, `sent` and `copied` speak for it, `regenerated` and `discarded` against it.",
        examples=["copied"],
    )

    def given(self) -> Given:
        """A signal."""
        return given.signal(self.signal, **self.shared)


class OutcomeRequest(AboutAnswer):
    """What came of an answer."""

    type: Literal["outcome"]
    name: str = Field(
        min_length=1, max_length=given.MAX_NAME, description="Your own name of it.", examples=["minutes_to_reply"]
    )
    value: Annotated[float, Field(ge=-given.MOST, le=given.MOST, allow_inf_nan=False)] = Field(
        description="A number, or 0 and 1; more is better.", examples=[1]
    )

    def given(self) -> Given:
        """An outcome."""
        return given.outcome(self.name, self.value, **self.shared)


FeedbackRequest = Annotated[
    EditRequest | DemonstrationRequest | CommentRequest | RatingRequest | RankingRequest | ThumbsRequest
    | SignalRequest | OutcomeRequest,
    Field(discriminator="type"),
]  # fmt: skip
_ANSWER = {"completion_id": "chatcmpl-9f2c"}
_SHOWN: dict[Type, tuple[str, dict[str, Any]]] = {
    "edit": ("What the user made of an answer", {**_ANSWER, "edited_text": "Hi Ann, see you at 9. Bo"}),
    "demonstration": (
        "A text of the user's own, for a request that was asked elsewhere",
        {
            "messages": [{"role": "user", "content": "Write to Ann that the meeting is at 9."}],
            "text": "Hi Ann, see you at 9. Bo",
        },
    ),
    "comment": ("What the user says about an answer", {**_ANSWER, "comment": "Too long, and never say 'kindly'."}),
    "rating": ("A number on a scale", {**_ANSWER, "rating": 5, "scale": "1-7", "aspect": "tone"}),
    "ranking": ("Answers to one request, the best first", {"completion_ids": ["chatcmpl-9f2c", "chatcmpl-77a0"]}),
    "thumbs": ("Right or wrong", {**_ANSWER, "thumb": "up"}),
    "signal": ("What the user did with an answer", {**_ANSWER, "signal": "copied", "source": "app"}),
    "outcome": (
        "What came of an answer",
        {**_ANSWER, "name": "replied", "value": 1, "source": "app", "tags": ["campaign 7"]},
    ),
}
EXAMPLES: dict[str, Any] = {
    type: {"summary": summary, "value": {"type": type, **value}} for type, (summary, value) in _SHOWN.items()
}
"""Of each kind, for the OpenAPI."""


def _short(text: str, param: str, settings: Settings) -> None:
    if len(text) > settings.edit_limit:
        raise Invalid(f"{param} may have {settings.edit_limit} characters at most.", param=param)
