"""What an app says of a request in headers, where it cannot change the body: chat UIs fill in templates of headers.

An empty header says nothing: templates that do not apply are sent so.
"""

from typing import Any

from starlette.datastructures import Headers

from server.dialects.generation import GenerationRequest
from store.errors import Invalid

TASK = "X-Attune-Task"
CLIENT_ID = "X-Attune-Client-Id"
LONGEST = 128
PARAMETERS: list[dict[str, Any]] = [
    {
        "name": TASK,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "examples": ["title_generation"]},
        "description": "What the app asks for itself and not for its user, as a chat's title: the same as "
        '`attune.personalize: "off"`, so that nothing is personal and nothing is kept.',
    },
    {
        "name": CLIENT_ID,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "maxLength": LONGEST},
        "description": "The app's own name of the answer, where the body has no `attune.client_id`.",
    },
]
"""As the document has them."""


def heed(body: GenerationRequest, headers: Headers) -> None:
    """Put what ``headers`` say into ``body``. Raises ``Invalid``."""
    try:
        named = headers.get(CLIENT_ID, "").encode("latin-1").decode().strip()
    except UnicodeDecodeError as error:
        raise Invalid(f"{CLIENT_ID} must be UTF-8.", param=CLIENT_ID) from error
    if len(named) > LONGEST:
        raise Invalid(f"{CLIENT_ID} may have {LONGEST} characters at most.", param=CLIENT_ID)
    if named and body.attune.client_id is None:
        body.attune = body.attune.model_copy(update={"client_id": named})
    if headers.get(TASK, "").strip():
        body.attune = body.attune.model_copy(update={"personalize": "off", "adapter_version": None})
