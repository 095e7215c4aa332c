"""Verbs of the program, one file each."""
