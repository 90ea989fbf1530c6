"""What a server's learning costs in tokens, as far as its metrics say."""

from openai import NotFoundError
from prometheus_client.parser import text_string_to_metric_families

from lab.client import Client

COUNTER = "attune_learning_tokens"


class Meter:
    """Reads the learning tokens of one tenant; ``tenant`` is None where others share it, and then nothing is known."""

    def __init__(self, client: Client, tenant: str | None) -> None:
        self._client = client
        self._tenant = tenant
        self._last: tuple[int, int] | None = None

    async def start(self) -> None:
        """Count from here."""
        self._last = await self._read()

    async def spent(self) -> tuple[int, int] | None:
        """Prompt and completion tokens since it was last asked; None where the server does not tell."""
        before, self._last = self._last, await self._read()
        if before is None or self._last is None:
            return None
        return self._last[0] - before[0], self._last[1] - before[1]

    async def _read(self) -> tuple[int, int] | None:
        if self._tenant is None:
            return None
        try:
            text = await self._client.metrics()
        except NotFoundError:
            return None
        return _tokens(text, self._tenant)


def _tokens(text: str, tenant: str) -> tuple[int, int] | None:
    # The whole text has a line for each route and bucket, and is asked for in every round.
    lines = "\n".join(line for line in text.splitlines() if COUNTER in line)
    if not lines:
        return None
    found = {"prompt": 0, "completion": 0}
    for family in text_string_to_metric_families(f"{lines}\n"):
        for sample in family.samples:
            if sample.name == f"{COUNTER}_total" and sample.labels["tenant"] == tenant:
                found[sample.labels["direction"]] = int(sample.value)
    return found["prompt"], found["completion"]
