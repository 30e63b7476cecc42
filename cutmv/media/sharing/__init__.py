"""Shared renders: what an encoding costs, and the parts in which many workers make it. Pure."""
