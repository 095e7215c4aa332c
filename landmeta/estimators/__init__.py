"""Design-based estimation from probability samples: formulas only, no files."""
