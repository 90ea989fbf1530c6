"""Taking feedback in: stored with its learning job, and what adapter versions make of one more edit."""

from sqlalchemy import Connection

from adapters.evaluation import canary
from adapters.lifecycle import versions
from preference.feedback import submission
from preference.feedback.feedback import Feedback
from preference.feedback.given import Given
from store.feedback_kinds import TEXTS
from store.owner import Owner


def give(
    c: Connection, owner: Owner, given: Given, *, key: str | None = None, body_sha256: str, min_edits: int
) -> Feedback:
    """``submission.give``, and the training that is due after ``min_edits`` new edits, in one transaction."""
    accepted = submission.give(c, owner, given, idempotency_key=key, body_sha256=body_sha256)
    if accepted.type in TEXTS:
        versions.queue_if_due(c, owner, min_edits)
        canary.notice(c, owner)
    return accepted
