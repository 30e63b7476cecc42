"""Secrets in formats of our own, for detect-secrets: `.secrets.baseline` names this file."""

import re

from detect_secrets.plugins.base import RegexBasedDetector


class ApiKeyDetector(RegexBasedDetector):
    """API keys of people, as `cutmv.people.ApiKeys` makes them."""

    secret_type = "API key of CUTMV"
    denylist = (re.compile(r"(?<![\w-])cutmv_[A-Za-z0-9_-]{43}(?![\w-])"),)


class WebhookSecretDetector(RegexBasedDetector):
    """Secrets that sign webhooks (Standard Webhooks: 24 to 64 bytes)."""

    secret_type = "Secret of a webhook"
    denylist = (re.compile(r"(?<!\w)whsec_[A-Za-z0-9+/]{32,86}={0,2}"),)
