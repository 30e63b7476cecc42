"""`cutmv people`: `commands` are those that change or list the accounts of a deployment."""

from cutmv.cli.people.commands import people

__all__ = ["people"]
