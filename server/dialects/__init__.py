"""The engine's generation routes, each with its requests and answers, and what they share."""
