"""What the storage tests build on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from preference.feedback import submission
from preference.feedback.feedback import Feedback
from preference.feedback.given import Given
from store.owner import Owner
from store.turns import Turn
from store.values import Value

ANN = Owner("acme", "ann")
BOB = Owner("acme", "bob")
OTHER_ANN = Owner("globex", "ann")
NOT_STORABLE = ["a\x00b", "a\ud800b"]


def turn(completion_id: str, created_at: float = 1.0, *answers: str, partial: bool = False) -> Turn:
    """A turn that fills every column."""
    return Turn(
        completion_id=completion_id,
        created_at=created_at,
        model="bundled",
        request=[{"role": "user", "content": "Write to Sam: déjà vu 👍"}],
        prompt=[{"role": "user", "content": [{"type": "text", "text": "Write to Sam"}]}],
        prompt_sha256="0" * 64,
        answers=list(answers) or ["Dear Sam, done."],
        applied_values=[Value(preference="Be brief", description="One sentence.")],
        applied_preferences=[{"id": "pref-1", "text": "No greeting", "score": 0.5}],
        adapter_version=3,
        personalized="retrieval+adapter",
        prompt_tokens=11,
        completion_tokens=7,
        partial=partial,
    )


def unit(*numbers: float) -> NDArray[np.float32]:
    """A unit vector in the direction of ``numbers``."""
    vector = np.array(numbers, dtype=np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def submit(
    c: Connection,
    owner: Owner,
    /,
    *,
    completion_id: str,
    idempotency_key: str | None = None,
    body_sha256: str,
    **given: Any,
) -> Feedback:
    """Give an edit, or with ``thumb`` a thumb."""
    said = Given("thumbs" if "thumb" in given else "edit", completion_id, **given)
    return submission.give(c, owner, said, idempotency_key=idempotency_key, body_sha256=body_sha256)
