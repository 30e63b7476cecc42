"""What a process of CUTMV holds open: its settings, the job store, the storage."""

from dataclasses import dataclass
from functools import lru_cache

from cutmv.config import Settings
from cutmv.jobs import JobStore
from cutmv.storage import LocalStorage, R2Storage, Storage


@dataclass(frozen=True)
class Services:
    """The settings, and what they ask to be opened. All of it can be used from threads."""

    settings: Settings
    store: JobStore
    storage: Storage

    @classmethod
    def open(cls, settings: Settings) -> "Services":
        """Open the job store and the storage of `settings`."""
        return cls(settings, JobStore(settings.database_url), open_storage(settings))


def open_storage(settings: Settings) -> Storage:
    """R2 when its keys are set, else a folder of the data directory."""
    if (
        settings.r2_access_key_id is None
        or settings.r2_secret_access_key is None
        or settings.r2_endpoint_url is None
    ):
        return LocalStorage(settings.data_dir / "files")
    return R2Storage(
        settings.r2_bucket,
        settings.r2_endpoint_url,
        settings.r2_access_key_id,
        settings.r2_secret_access_key,
    )


@lru_cache(maxsize=1)
def services() -> Services:
    """This process's services, from its environment. Raises ConfigError.

    Opened at the first use, so in a forked worker process by itself. (A JobStore survives a fork
    too; an open connection to R2 does not.)
    """
    return Services.open(Settings.from_env())
