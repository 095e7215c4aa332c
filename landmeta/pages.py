"""HTML pages from the templates of this package; each needs nothing beside it."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

import landmeta


def render(template: str, **content: object) -> str:
    """The text of a page: what is put in is escaped, and what is missing is an error."""
    environment = Environment(
        loader=PackageLoader("landmeta"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(version=landmeta.__version__, **content)
