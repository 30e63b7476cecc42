"""What a process of CUTMV holds open: its settings, the job store, the storage."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from cutmv.config import Settings
from cutmv.database import database_full
from cutmv.jobs import JobStore
from cutmv.media import Cache
from cutmv.people import Accounts, ApiKeys, SecondFactors, Sessions
from cutmv.storage import Ballast, LocalStorage, R2Storage, Room, Storage

#: The folder of the data directory that holds stored files where there is no R2.
FILES_FOLDER = "files"
#: The folder of the data directory that holds what was read of videos in R2.
CACHE_FOLDER = "cache"
#: The folder of the data directory that holds the workspace.
WORKSPACE_FOLDER = "work"

#: How the address of a database begins that is a file.
SQLITE = "sqlite:///"

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """The settings, and the job store and the storage they ask for. Threads may share them."""

    settings: Settings
    store: JobStore
    storage: Storage

    @property
    def cache(self) -> Cache:
        """What this machine's processes have read of videos in R2."""
        folder, reserve = self.settings.data_dir / CACHE_FOLDER, 0
        with suppress(OSError):
            reserve = self.room.reserve(folder)
        return Cache(folder, self.settings.cache_bytes, reserve)

    @property
    def room(self) -> Room:
        """The room on the disks that this machine's processes write: all of theirs is counted."""
        settings = self.settings
        files = settings.data_dir / FILES_FOLDER
        folders = [settings.data_dir, Path(tempfile.gettempdir())]
        folders += [settings.data_dir / name for name in (WORKSPACE_FOLDER, CACHE_FOLDER)]
        if self._database_folder:
            folders.append(self._database_folder)
        if settings.uses_r2:
            return Room(folders, settings.min_free_bytes)
        return Room([*folders, files], settings.min_free_bytes, stored=files)

    @property
    def ballast(self) -> Ballast:
        """What a full disk gives up, where the database is a file on one of this machine's."""
        folder, reserve = self._database_folder, 0
        if folder:
            with suppress(OSError):
                reserve = self.room.reserve(folder)
        return Ballast(folder or self.settings.data_dir, reserve)

    @property
    def _database_folder(self) -> Path | None:
        """The folder of the database's file; None where it is a server's."""
        url = self.settings.database_url
        return Path(url[len(SQLITE) :]).parent if url.startswith(SQLITE) else None

    def freeing(self, call: Callable[[], T]) -> T:
        """What `call` gives, which frees room or ends what takes some.

        Where the database's disk is full it is called once more, with the room of the ballast.
        """
        try:
            return call()
        except DBAPIError as error:
            if not database_full(error) or not self.ballast.give_up():
                raise
        return call()

    @property
    def accounts(self) -> Accounts:
        """Who may sign in."""
        return Accounts(self.store.engine)

    @property
    def api_keys(self) -> ApiKeys:
        """By which programs act for them."""
        return ApiKeys(self.store.engine)

    @property
    def second_factors(self) -> SecondFactors:
        """By which codes they sign in, too."""
        return SecondFactors(self.store.engine)

    @property
    def sessions(self) -> Sessions:
        """Who has signed in."""
        return Sessions(self.store.engine)

    @classmethod
    def open(cls, settings: Settings) -> "Services":
        """Open the job store and the storage of `settings`.

        Raises SQLAlchemyError when the database does not answer, StorageError when the folder for
        files can't be made.
        """
        store = JobStore(settings.database_url, settings.limits)
        return cls(settings, store, open_storage(settings, in_use=store.has_uploads()))


def open_storage(settings: Settings, *, in_use: bool) -> Storage:
    """R2 when its keys are set, else a folder of the data directory.

    One that is `in_use` is not made, since it is away for a while if it is not there.
    """
    if (
        settings.r2_access_key_id is None
        or settings.r2_secret_access_key is None
        or settings.r2_endpoint_url is None
    ):
        return LocalStorage(settings.data_dir / FILES_FOLDER, in_use=in_use)
    return R2Storage(
        settings.r2_bucket,
        settings.r2_endpoint_url,
        settings.r2_access_key_id,
        settings.r2_secret_access_key,
    )


@lru_cache(maxsize=1)
def services() -> Services:
    """This process's services, from its environment. Raises ConfigError, and as `Services.open`.

    They are opened at the first use, so that a forked worker process opens its own: a job store
    survives a fork, an open connection to R2 does not.
    """
    return Services.open(Settings.from_env())
