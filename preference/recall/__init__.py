"""Which preferences apply to a request: an index of contexts by kind of task."""
