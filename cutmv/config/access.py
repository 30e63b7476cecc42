"""Who may come in, as the environment says: names of the server, signing in, mail."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from cutmv.config.errors import ConfigError
from cutmv.config.urls import checked_url

SignIn = Literal["auto", "always"]
HookTargets = Literal["public", "any"]
SecondFactor = Literal["optional", "administrators", "everybody"]
T = TypeVar("T", bound=str)

#: What each may be, first where nobody says.
SIGN_IN: tuple[SignIn, ...] = ("auto", "always")
HOOK_TARGETS: tuple[HookTargets, ...] = ("public", "any")
SECOND_FACTOR: tuple[SecondFactor, ...] = ("optional", "administrators", "everybody")

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
    #: Who must have a second factor.
    second_factor: SecondFactor = "optional"

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
            sign_in=_choice(env, "CUTMV_SIGN_IN", SIGN_IN),
            url=url,
            admin_email=email or None,
            admin_password=password or None,
            smtp_url=smtp_url,
            mail_from=env.get("CUTMV_MAIL_FROM") or f"cutmv@{name}",
            hook_targets=_choice(env, "CUTMV_WEBHOOK_TARGETS", HOOK_TARGETS),
            second_factor=_choice(env, "CUTMV_SECOND_FACTOR", SECOND_FACTOR),
        )

    def needs_second_factor(self, *, is_admin: bool) -> bool:
        """Whether somebody must have a second factor."""
        return self.second_factor == "everybody" or (
            self.second_factor == "administrators" and is_admin
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


def _choice(env: Mapping[str, str], name: str, choices: tuple[T, ...]) -> T:
    """What a variable says, of these words; the first where it says nothing."""
    told = env.get(name) or choices[0]
    for each in choices:
        if told.lower() == each:
            return each
    known = f"{', '.join(choices[:-1])} or {choices[-1]}"
    raise ConfigError(f"{name} is {told!r}: use {known}.")
