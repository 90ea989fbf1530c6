"""HTTP, the composition root, and the two paths: answering and taking feedback."""
