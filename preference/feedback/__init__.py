"""What a user gives, of every kind, as rows, and what those who learn read of it."""
