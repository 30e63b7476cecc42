"""The web application: the JSON API, the WebSocket for live progress, and the page.

`factory` builds it of `api`, `live` and `page`, which share its `state`; `security` and `metrics`
see every request, and `door` says which may come in. `server` is gunicorn's configuration and
`wsgi` the application that it serves. The package may import `cutmv.dispatch` and everything below,
and no other package imports it.
"""

from cutmv.web.factory import create_app
from cutmv.web.state import Web, web_of

__all__ = ["Web", "create_app", "web_of"]
