"""Which adapter is loaded where, and answers whom."""
