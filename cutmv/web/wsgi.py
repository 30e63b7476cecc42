"""The application for a WSGI server, with all that runs beside it; `server` is how to run it."""

from cutmv.web.factory import create_app

app = create_app(start_background=True)
