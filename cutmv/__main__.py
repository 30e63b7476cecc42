"""`python -m cutmv` is the `cutmv` command."""

from cutmv.cli import main

main(prog_name="cutmv")
