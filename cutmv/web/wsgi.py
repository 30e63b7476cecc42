"""The application for a WSGI server, with its background threads; see `server` to run it."""

import sys

from sqlalchemy.exc import SQLAlchemyError

from cutmv.config import ConfigError
from cutmv.database import OtherSchema, cause
from cutmv.storage import StorageError
from cutmv.web.auth import BOOT_ERROR
from cutmv.web.factory import create_app


def _refused(why: str) -> None:
    """End this process and its server, with one line."""
    print(f"Error: {why}", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(BOOT_ERROR)


try:
    app = create_app(start_background=True)
except (ConfigError, OtherSchema, StorageError) as error:
    _refused(str(error))
except SQLAlchemyError as error:
    _refused(f"The database can't be used: {cause(error) or 'it does not answer'}.")
