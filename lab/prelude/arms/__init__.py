"""The learners that are compared. They know the model over HTTP, requests, drafts and edits, and nothing else."""
