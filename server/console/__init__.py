"""The console: pages for people, in the server's own origin, over the public API alone."""
