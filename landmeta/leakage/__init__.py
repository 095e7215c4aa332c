"""Proof that the splits of a task set have nothing in common that would flatter a test."""
