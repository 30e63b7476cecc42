"""The secret that each process derives by itself where the environment gives none."""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cutmv.config.errors import ConfigError

#: Bytes of a key from which on what is derived of it is as long as it can be.
LONG_KEY_BYTES = 24


def derived_secret(env: Mapping[str, str], data_dir: Path) -> str:
    """The webhook secret that each process derives by itself, from CUTMV_SECRET_KEY or a file.

    Of a short key it is as short, so that it is refused wherever such a secret is.
    """
    key = (env.get("CUTMV_SECRET_KEY") or _kept_key(data_dir / "secret_key")).encode()
    digest = hmac.new(key, b"cutmv webhook", hashlib.sha256).digest()
    digest = digest if len(key) >= LONG_KEY_BYTES else digest[: len(key)]
    return "whsec_" + base64.b64encode(digest).decode()


def _kept_key(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read ({error.strerror}): set CUTMV_SECRET_KEY."
        ) from error
    # The key is written to a file beside it, then linked: of two processes that start at once, one
    # wins, and neither reads half a key.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret-") as file:
        file.write(secrets.token_urlsafe(32))
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
    return path.read_text()
