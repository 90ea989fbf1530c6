"""Another OpenAI-compatible model that says what edits show: a 7B serves, a larger one learns."""

from collections.abc import Sequence

from preference.ports import Generation
from server.engine.client import Engine
from store.errors import EngineFailed, EngineRejected, EngineUnavailable
from store.message import Message


class LearnerModel:
    """Implements ``TextGenerator`` by an endpoint's chat completions. While it is away, edits wait."""

    def __init__(self, url: str, model: str, api_key: str | None, read_timeout: float) -> None:
        self._engine = Engine(url, base_model=model, api_key=api_key, read_timeout=read_timeout)

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        """See ``TextGenerator``."""
        where = "The learner's model (ATTUNE_LEARNER_URL)"
        try:
            return await self._engine.generate(messages, max_tokens=max_tokens, model=model)
        except EngineFailed as error:
            raise EngineFailed(f"{where} failed, or did not answer in time.") from error
        except EngineUnavailable as error:
            raise EngineUnavailable(
                f"{where} cannot be reached, is overloaded, or refuses ATTUNE_LEARNER_API_KEY; edits wait for it."
            ) from error
        except EngineRejected as error:
            raise EngineRejected(f"{where} refuses the question: {error.message}") from error
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise EngineFailed(f"{where} gave an answer that is no chat completion.") from error

    async def close(self) -> None:
        """Close its connections."""
        await self._engine.close()
