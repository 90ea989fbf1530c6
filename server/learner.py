"""The learner, as the settings have it: whom it asks about edits, and how."""

from contextlib import AsyncExitStack

from preference.learning.learner import Learner
from preference.learning.prompt_file import NAME, PromptFile
from preference.ports import Kinds, OnTokens
from preference.recall.index import RecallLimits
from server.engine.learner_model import LearnerModel
from server.engine.pool import Engines
from server.settings import Settings
from store.database import Database


def make_learner(
    settings: Settings,
    stack: AsyncExitStack,
    database: Database,
    engine: Engines,
    kinds: Kinds,
    *,
    limits: RecallLimits,
    system_role: bool,
    on_tokens: OnTokens,
) -> Learner:
    """The ``stack`` closes what it asks, where that is a model of its own. For the rest see ``Learner``."""
    proposing = None
    if settings.learner_url is not None:
        model, key = settings.learner_model or "", settings.learner_key
        proposing = LearnerModel(settings.learner_url, model, key, settings.engine_read_timeout)
        stack.push_async_callback(proposing.close)
    return Learner(
        database,
        engine,
        kinds,
        scorer=engine,
        limits=limits,
        k=settings.recall_k,
        prompts=_prompts(settings),
        proposing=proposing,
        max_preferences=settings.max_preferences,
        system_role=system_role,
        on_tokens=on_tokens,
    )


def _prompts(settings: Settings) -> PromptFile:
    """How edits are asked about: by the file set, by the one in the model's folder, or as models are in general."""
    if settings.learner_prompt is not None:
        return PromptFile.load(settings.learner_prompt)
    folder = settings.model_folder
    own = None if folder is None or settings.learner_url is not None else folder / NAME
    return PromptFile.load(own) if own is not None and own.is_file() else PromptFile.load()
