"""Verbs of the program, one a file."""
