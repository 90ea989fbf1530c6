"""What the server keeps: opened, exported, erased, embedded anew, cut back."""
