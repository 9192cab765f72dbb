"""Models to and from a hub: what of a model is shared, and how it is checked."""
