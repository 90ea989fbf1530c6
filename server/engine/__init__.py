"""vLLM: its client, its process, several of them, routers before it, and our plug-in inside it."""
