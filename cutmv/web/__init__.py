"""The web application: uploads, jobs, live progress, downloads, and the page.

`factory` builds it of one blueprint a resource (`uploads`, `jobs`, `queue`, `live`, `health`,
`openapi`, `page`), which share `state` (what the application holds), `models` (what goes in and
out), `problems` (errors), `contents` and `incoming` (files out and in). `security` and `metrics`
stand around all of them. `server` runs it under gunicorn.
"""

from cutmv.web.factory import create_app
from cutmv.web.state import Web, web_of

__all__ = ["Web", "create_app", "web_of"]
