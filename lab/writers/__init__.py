"""What was learned from a person's edits, tried on that person's later edits and on other people's."""
