"""The train job, its trainer, and the recipes. Heavy imports stay inside functions."""
