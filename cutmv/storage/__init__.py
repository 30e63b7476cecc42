"""TO BE WRITTEN: storage."""
