"""Whether a candidate is better than what serves: measured, decided, tried as a canary."""
