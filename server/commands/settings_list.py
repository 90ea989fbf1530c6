"""Every setting as a table, and as the page docs/settings.md."""

import textwrap

from server.settings import Settings


def settings_table() -> list[dict[str, str]]:
    """Every setting as variable, default and description, in the order of their definition."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else "[]" if field.default == frozenset() else str(field.default)
        rows.append({"variable": f"ATTUNE_{name.upper()}", "default": default, "description": field.description or ""})
    return rows


def settings_markdown() -> str:
    """docs/settings.md: every setting as an item of a list, in lines of at most 118 characters."""
    lines = [
        "# Settings",
        "",
        "Settings are environment variables; the value in brackets is the default. `attune settings` prints them,",
        "`attune settings --markdown` this page.",
        "",
    ]
    for row in settings_table():
        default = f" (`{row['default']}`)" if row["default"] else ""
        item = f"- `{row['variable']}`{default}: {row['description']}"
        lines += textwrap.wrap(item, 118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) + "\n"
