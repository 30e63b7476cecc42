"""The operators' page: what a whole deployment does, and what administrators do about it.

`page` shows what the monitor has seen, `controls` change it. The package may import
`cutmv.monitoring` and of the web application its state, its access rules and its errors.
"""

from flask import Flask

from cutmv.web.operators import controls, page
from cutmv.web.operators.blueprint import blueprint

__all__ = ["controls", "page", "register"]


def register(app: Flask) -> None:
    """Add the page to `app`."""
    app.register_blueprint(blueprint)
    app.jinja_env.filters["seconds"] = page.seconds_text
    app.jinja_env.filters["count"] = page.count_text
