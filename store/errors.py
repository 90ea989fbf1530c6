"""What can go wrong in the domain. Knows no HTTP: `server/errors.py` renders these in the OpenAI envelope."""


class AttuneError(Exception):
    """Base of all expected errors. ``param`` names the offending field, ``code`` is stable and machine-readable."""

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class NotFound(AttuneError):
    """The id does not exist for this owner. Somebody else's id gives the same answer."""

    code = "not_found"


class Invalid(AttuneError):
    """A value that no retry will make right."""

    code = "invalid_value"


class Conflict(AttuneError):
    """The request contradicts the present state."""

    code = "conflict"


class IdempotencyConflict(Conflict):
    """An earlier request with the same idempotency key had another body."""

    code = "idempotency_conflict"


class EngineUnavailable(AttuneError):
    """The engine is loading, restarting, overloaded or gone; the same request may succeed later."""

    code = "engine_unavailable"


class EngineFailed(EngineUnavailable):
    """It took a request up, and had no answer in time or an error of its own: asking again may fare no better."""


class EngineRejected(AttuneError):
    """The engine refused the request itself; its message says why."""

    code = "engine_rejected"


class ScoringUnavailable(EngineRejected):
    """The engine cannot say how likely a text is: it has no ``prompt_logprobs``, or no tokenizer to ask."""

    code = "scoring_unavailable"
