"""A bundle: a folder from which threeages is installed on machines without network."""
