"""The people who use a deployment: their accounts, passwords, API keys, sessions and quotas.

`model` is pure; `accounts`, `second_factor`, `api_keys` and `sessions` keep it in the `tables`,
`quotas` reads whose differ, `checks` says what may be kept, and `passwords` which may be chosen and
whether one is right. `standing` tells others whether an account is there.
Tokens are told once and kept as hashes (`tokens`). The package knows no HTTP, and imports
`cutmv.database` alone.
"""

from cutmv.people.accounts import Accounts
from cutmv.people.api_keys import KEY_DAYS, MAX_KEY_DAYS, ApiKeys
from cutmv.people.model import (
    LOCAL,
    QUOTAS,
    AccountGone,
    ApiKey,
    LastAdministrator,
    LinkGone,
    Person,
    Refused,
    SignsInOtherwise,
    UnknownKey,
    UnknownPerson,
    whole_number,
)
from cutmv.people.passwords import check_password
from cutmv.people.quotas import kept_days, own_quota, own_quotas
from cutmv.people.second_factor import SecondFactors, app_url, is_app_secret, new_app_secret
from cutmv.people.sessions import SESSION_S, Sessions
from cutmv.people.standing import enabled_ids, is_enabled, require_account
from cutmv.people.tokens import TokenKind, new_token, token_hash

__all__ = [
    "KEY_DAYS",
    "LOCAL",
    "MAX_KEY_DAYS",
    "QUOTAS",
    "SESSION_S",
    "AccountGone",
    "Accounts",
    "ApiKey",
    "ApiKeys",
    "LastAdministrator",
    "LinkGone",
    "Person",
    "Refused",
    "SecondFactors",
    "Sessions",
    "SignsInOtherwise",
    "TokenKind",
    "UnknownKey",
    "UnknownPerson",
    "app_url",
    "check_password",
    "enabled_ids",
    "is_app_secret",
    "is_enabled",
    "kept_days",
    "new_app_secret",
    "new_token",
    "own_quota",
    "own_quotas",
    "require_account",
    "token_hash",
    "whole_number",
]
