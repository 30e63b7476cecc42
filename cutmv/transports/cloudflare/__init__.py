"""Cloudflare Queues as a kombu transport. Importing this package registers ``cloudflare://``."""
