"""A cluster of machines, by Ray: images answered and trials run by workers that may be lost."""
