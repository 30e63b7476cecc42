"""Which objects of others in the bucket become uploads, and jobs, as the environment says."""

from collections.abc import Mapping
from dataclasses import dataclass

from cutmv.config.errors import ConfigError

#: What the keys of our own objects start with (`cutmv.jobs.keys`).
OWN_PREFIXES = ("uploads/", "jobs/", "doctor/", "results/", "celery/")
#: Characters of a prefix.
MAX_PREFIX_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class IncomingObjects:
    """Objects that others put into the bucket: those whose keys start with `prefix` are uploads.

    None is where that is empty. `preset` makes a job of each that lies in no preset's folder.
    `owner` is the address of the account that has them; nobody's are the administrators'.
    """

    prefix: str = ""
    preset: str = ""
    owner: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, may_be_told: bool) -> "IncomingObjects":
        """Read it from `env`. Raises ConfigError, also unless R2 `may_be_told` to send messages."""
        prefix = _prefix(env.get("CUTMV_INCOMING_PREFIX") or "")
        preset, owner = env.get("CUTMV_INCOMING_PRESET"), env.get("CUTMV_INCOMING_OWNER")
        if prefix and not may_be_told:
            raise ConfigError(
                "CUTMV_INCOMING_PREFIX is set: set CLOUDFLARE_ACCOUNT_ID, CLOUDFLARE_API_TOKEN and"
                " the R2_ keys too, since R2 tells of objects by Cloudflare Queues; or unset it."
            )
        if (preset or owner) and not prefix:
            name = "CUTMV_INCOMING_PRESET" if preset else "CUTMV_INCOMING_OWNER"
            raise ConfigError(f"{name} is set: set CUTMV_INCOMING_PREFIX too.")
        return cls(prefix=prefix, preset=preset or "", owner=owner or "")


def _prefix(given: str) -> str:
    if not given:
        return ""
    prefix = given.strip("/") + "/"
    shared = any(own.startswith(prefix) or prefix.startswith(own) for own in OWN_PREFIXES)
    if prefix == "/" or shared or len(prefix) > MAX_PREFIX_CHARS or not prefix.isprintable():
        raise ConfigError(
            f"CUTMV_INCOMING_PREFIX is {given!r}: use a folder of the bucket, as incoming/, and"
            f" none of {', '.join(OWN_PREFIXES)}."
        )
    return prefix
