"""`python -m server` is the `attune` command."""

from server.cli import main

main()
