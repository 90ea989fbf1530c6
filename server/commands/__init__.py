"""The `attune` command's parts."""
