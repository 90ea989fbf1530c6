"""Real models by name, on machines without a hub: which there are, fetching and converting them, where they lie."""
