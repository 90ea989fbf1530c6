"""Per-user LoRA versions: made from edits, admitted by measurement, swapped without a dropped request."""
