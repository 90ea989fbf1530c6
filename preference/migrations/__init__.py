"""The schema's history. ``python -m preference.migrations "what changes"`` drafts the next step from `tables.py`."""
