"""Torch modules; a function name is a model name."""
