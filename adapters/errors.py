"""What can go wrong in an adapter's making, beside what the domain's errors say."""

from store.errors import AttuneError


class TrainingFailed(AttuneError):
    """Trainer or gate failed, or took too long; the log has the last lines of a trainer that failed."""

    code = "training_failed"
