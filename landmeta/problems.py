"""What pydantic found wrong in a file, in words for its author."""

from __future__ import annotations

from pydantic import ValidationError


def problems(error: ValidationError) -> str:
    """One phrase for each: where, what, and the value."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']} (got {e['input']!r:.80})"
        for e in error.errors()
    )
