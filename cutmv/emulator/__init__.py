"""TO BE WRITTEN: emulator."""
