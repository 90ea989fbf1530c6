"""Many users' adapters trained in one program."""
