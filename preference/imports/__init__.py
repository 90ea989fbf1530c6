"""What a user brings along from elsewhere: drafts and what they made of them, texts of their own, wishes, ratings."""
