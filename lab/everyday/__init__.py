"""Everyday requests in English, and users whose wishes a rule can check and mend."""
