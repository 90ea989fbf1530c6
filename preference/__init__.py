"""What Attune knows about a user, and how it is learned. Imports no other package of this project."""
