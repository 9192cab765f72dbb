"""Age group of a face (YOUNG, MIDDLE, OLD), with figures measured on people the model never saw."""

from importlib.metadata import version

__version__ = version("threeages")
