"""Every setting as a field, in the order in which docs/settings.md has them: each file goes on where another ends."""
