"""TO BE WRITTEN: jobs."""
