"""Tells people's own systems that their jobs have ended, by Standard Webhooks.

`sender` sends what is due, `events` says what is told, and `posting` connects to strangers'
servers. The package may import the services.
"""

from cutmv.web.hooks.sender import HookSender

__all__ = ["HookSender"]
