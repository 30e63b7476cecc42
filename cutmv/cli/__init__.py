"""The `cutmv` command, with a module for each of its commands.

`main` finds a command and imports its module only when it is run, so that `cutmv --help` works in
every installation. `output` prints tables, JSON and progress bars. The package uses the public
names of the other packages; none of them imports it.
"""

from cutmv.cli.main import main

__all__ = ["main"]
