"""Land-cover maps of a new region from a handful of labelled tiles, by meta-learning."""

__version__ = "0.1.0"
