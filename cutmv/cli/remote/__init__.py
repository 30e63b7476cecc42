"""`cutmv remote`: what the page does, on a server elsewhere, by its API (`cutmv.client`)."""

from cutmv.cli.remote.commands import remote

__all__ = ["remote"]
