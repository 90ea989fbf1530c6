"""A synthetic world with simulated users, the bundled model made from it, and measurements on both."""
