"""The Model Context Protocol: what is known about a user as tools, for assistants that speak it."""
