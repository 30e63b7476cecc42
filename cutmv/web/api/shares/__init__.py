"""Shares of a job: the `routes` of its owner, and the `models` of what they take and answer."""
