"""A user played by a language model behind any OpenAI-compatible URL: is the draft right, and if not, what is?"""

from collections.abc import Sequence

from cachetools import LRUCache
from openai import AsyncOpenAI

from preference.distance import words

MAX_CACHED = 20_000

_JUDGE = """You asked an assistant for a text and hold its draft. You want of it:
{wishes}

What you asked:
{request}

The draft:
{draft}

Does the draft satisfy every wish? Answer with yes or no, nothing else."""

_REWRITE = """You asked an assistant for a text, but its draft does not satisfy all your wishes:
{wishes}

What you asked:
{request}

The draft:
{draft}

Change as few words of the draft as you can until it satisfies every wish. Keep its facts.
Answer with the changed text alone."""


class LLMUser:
    """Answers are greedy and kept for the run, so the same draft is judged alike. Errors are ``openai``'s own.

    ``ValueError`` when the model gives no rewriting or one that is cut short.
    """

    def __init__(self, url: str, model: str, api_key: str = "none") -> None:
        self._client = AsyncOpenAI(base_url=url, api_key=api_key, max_retries=5, timeout=120)
        self._model = model
        self._known: LRUCache[tuple[tuple[str, ...], str, str], str] = LRUCache(MAX_CACHED)

    async def edit(self, wishes: Sequence[str], request: str, draft: str) -> str:
        """``draft`` itself when the model finds that it satisfies ``wishes``, else its rewriting."""
        key = (tuple(wishes), request, draft)
        if key not in self._known:
            self._known[key] = await self._edit(wishes, request, draft)
        return self._known[key]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _edit(self, wishes: Sequence[str], request: str, draft: str) -> str:
        parts = {"wishes": "\n".join(f"- {w}" for w in wishes), "request": request, "draft": draft}
        verdict = await self._ask(_JUDGE.format(**parts), 8)
        if verdict.strip(" *\"'.").lower().startswith("yes"):
            return draft
        return await self._ask(_REWRITE.format(**parts), 3 * len(words(draft)) + 800, whole=True)

    async def _ask(self, text: str, max_tokens: int, *, whole: bool = False) -> str:
        answer = await self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": text}],
            temperature=0,
            max_tokens=max_tokens,
        )
        choice = answer.choices[0]
        said = (choice.message.content or "").strip()
        if whole and (not said or choice.finish_reason == "length"):
            raise ValueError(f"{self._model} as the user gave no whole text, but ended by {choice.finish_reason!r}.")
        return said
