"""TO BE WRITTEN: media."""
