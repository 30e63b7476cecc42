"""Hooks: addresses of people's own systems, which are told of the ends of their jobs.

`endpoints` keeps them, `addresses` says where they may lead, `announcing` notes what is to be told,
and `deliveries` keeps that, and what became of it. Who sends is elsewhere. The package imports the
job's model and the tables, since the job store announces.
"""

from cutmv.jobs.hooks.addresses import check_url, is_public
from cutmv.jobs.hooks.announcing import announce
from cutmv.jobs.hooks.deliveries import TEST, Deliveries, Delivery
from cutmv.jobs.hooks.endpoints import MAX_HOOKS, Hook, Hooks, UnknownHook

__all__ = [
    "MAX_HOOKS",
    "TEST",
    "Deliveries",
    "Delivery",
    "Hook",
    "Hooks",
    "UnknownHook",
    "announce",
    "check_url",
    "is_public",
]
