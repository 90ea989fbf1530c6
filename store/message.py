"""A chat message as callers send it, engines get it and rows keep it: plain JSON."""

from typing import Any

Message = dict[str, Any]
