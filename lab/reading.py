"""Files that people write: what is wrong with one is said in a sentence."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def text_of(path: Path, error: type[Exception]) -> str:
    """The text of a file. Raises ``error`` with the reason why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        why = reason.strerror if isinstance(reason, OSError) else "it is not UTF-8"
        raise error(f"{path} cannot be read: {why}.") from reason


def parsed(model: type[Model], text: str, where: str, error: type[Exception]) -> Model:
    """What ``text`` holds as JSON. Raises ``error`` with the first thing that is wrong."""
    try:
        return model.model_validate(json.loads(text))
    except json.JSONDecodeError as reason:
        raise error(f"{where} is no JSON: {reason}.") from reason
    except ValidationError as reason:
        first = reason.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise error(f"{where}: {f'{field}: ' if field else ''}{said}.") from reason
