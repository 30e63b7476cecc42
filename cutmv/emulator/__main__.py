"""`python -m cutmv.emulator` is `cutmv emulator`."""

from cutmv.emulator.cli import emulator

emulator(prog_name="cutmv emulator")
