"""What Attune knows about a user, and how it is learned. Imports `store` alone."""
