"""Who may come in, as the environment says: names of the server, signing in, mail."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from cutmv.config.errors import ConfigError
from cutmv.config.urls import checked_url

SignIn = Literal["auto", "always"]
HookTargets = Literal["public", "any"]

#: A host's name, without a port.
_HOST_NAME = re.compile(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$")


@dataclass(frozen=True, kw_only=True)
class Access:
    """How people come in. `url` is the server's address for people; its name is one of `hosts`,

    which are names that the web server answers to beside those it knows itself. The repr leaves
    secrets out.
    """

    hosts: tuple[str, ...] = ()
    sign_in: SignIn = "auto"
    url: str | None = None
    admin_email: str | None = None
    admin_password: str | None = field(default=None, repr=False)
    smtp_url: str | None = field(default=None, repr=False)
    mail_from: str = ""
    #: Where people's webhooks may lead, where they sign in.
    hook_targets: HookTargets = "public"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Access":
        """Read it from `env`. Raises ConfigError."""
        url = checked_url(env.get("CUTMV_URL"), "CUTMV_URL", ("https", "http"))
        name = urlsplit(url).hostname or "" if url else ""
        smtp_url = checked_url(env.get("CUTMV_SMTP_URL"), "CUTMV_SMTP_URL", ("smtps", "smtp"))
        if smtp_url and not url:
            raise ConfigError("CUTMV_SMTP_URL is set: set CUTMV_URL too, for the links in mails.")
        email, password = env.get("CUTMV_ADMIN_EMAIL"), env.get("CUTMV_ADMIN_PASSWORD")
        if bool(email) != bool(password):
            raise ConfigError("Set both CUTMV_ADMIN_EMAIL and CUTMV_ADMIN_PASSWORD, or neither.")
        return cls(
            hosts=(*_hosts(env), *filter(None, [name])),
            sign_in=_sign_in(env),
            url=url,
            admin_email=email or None,
            admin_password=password or None,
            smtp_url=smtp_url,
            mail_from=env.get("CUTMV_MAIL_FROM") or f"cutmv@{name}",
            hook_targets=_hook_targets(env),
        )


def _hosts(env: Mapping[str, str]) -> tuple[str, ...]:
    names = env.get("CUTMV_HOSTS", "").replace(",", " ").split()
    for name in names:
        if not _HOST_NAME.match(name):
            raise ConfigError(
                f"CUTMV_HOSTS has {name!r}: use names alone, like cutmv.example.com, with commas"
                " between them."
            )
    return tuple(names)


def _sign_in(env: Mapping[str, str]) -> SignIn:
    match (env.get("CUTMV_SIGN_IN") or "auto").lower():
        case "auto":
            return "auto"
        case "always":
            return "always"
    raise ConfigError(f"CUTMV_SIGN_IN is {env['CUTMV_SIGN_IN']!r}: use auto or always.")


def _hook_targets(env: Mapping[str, str]) -> HookTargets:
    match (env.get("CUTMV_WEBHOOK_TARGETS") or "public").lower():
        case "public":
            return "public"
        case "any":
            return "any"
    raise ConfigError(
        f"CUTMV_WEBHOOK_TARGETS is {env['CUTMV_WEBHOOK_TARGETS']!r}: use public or any."
    )
