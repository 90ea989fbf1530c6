"""Whether the served model's chat template has a system role: what is said there must not be lost, or be an error."""

import logging
import shlex
from pathlib import Path
from typing import Any

from server.settings import Settings

log = logging.getLogger(__name__)
_SYSTEM, _USER = "a wish 7c1f", "a question 7c1f"


def has_system_role(settings: Settings) -> bool:
    """As ``system_role`` says; where that is unset, by the template of the model. True where nobody can tell.

    A remote engine's template is its own: True.
    """
    if settings.system_role is not None:
        return settings.system_role
    if settings.engine_url is not None:
        return True
    source = str(settings.model_folder or settings.model_source)
    try:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(source)
        found = keeps_system(tokenizer, _own_template(settings))
    except Exception as error:  # a hub that is away, a tokenizer of vLLM's own: whatever it is, vLLM has the say
        reason = str(error).partition("\n")[0]
        log.warning("the chat template of %s cannot be read, so it is taken to have a system role: %s", source, reason)
        return True
    if not found:
        log.info("the chat template has no system role: values go into the user's message")
    return found


def keeps_system(tokenizer: Any, template: str | None = None) -> bool:
    """Whether a conversation that begins with a system message is rendered with it, by ``template`` or the own one.

    Raises whatever a template raises that cannot render a user's message alone.
    """
    asked = {"role": "user", "content": _USER}
    how: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True, "chat_template": template}
    tokenizer.apply_chat_template([asked], **how)
    try:
        rendered = tokenizer.apply_chat_template([{"role": "system", "content": _SYSTEM}, asked], **how)
    except Exception:  # `raise_exception` of templates, and what Jinja raises
        return False
    return _SYSTEM in rendered and _USER in rendered


def _own_template(settings: Settings) -> str | None:
    """What the operator gives vLLM instead of the model's: a file or the template itself."""
    given = shlex.split(settings.engine_args)
    for place, argument in enumerate(given):
        name, equals, value = argument.partition("=")
        if name == "--chat-template":
            chosen = value if equals else given[place + 1]
            return Path(chosen).read_text() if Path(chosen).is_file() else chosen
    return None
