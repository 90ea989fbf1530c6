"""The request path, the same for every dialect."""
