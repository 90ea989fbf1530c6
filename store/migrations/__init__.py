"""The schema's history. ``python -m store.migrations "what changes"`` drafts the next step from `tables.py`."""
