"""TO BE WRITTEN: progress."""
