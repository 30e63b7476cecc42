"""The application for a WSGI server, with its background threads; see `server` to run it."""

from cutmv.web.factory import create_app

app = create_app(start_background=True)
