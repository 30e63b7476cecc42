"""Hooks of the person who asks: the `routes`, and the `models` of what they take and answer."""
