"""TO BE WRITTEN: web."""
