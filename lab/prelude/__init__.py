"""PRELUDE's protocol (arXiv 2404.15269), played over the public HTTP API of a real server."""
