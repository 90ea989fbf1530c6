"""`attune lab edits`: everyday edits and what they should teach, played on a real server with a real model."""
