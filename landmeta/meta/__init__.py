"""Learning to adapt. One method per file; pure functions on parameter dicts; no IO."""
