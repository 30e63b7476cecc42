"""CUTMV cuts music videos: FFmpeg work as Celery tasks, on Cloudflare Queues, Redis, or nothing.

Importing this package registers the ``cloudflare`` transport with kombu.
"""

from cutmv.transports import cloudflare as cloudflare

__version__ = "0.1.0"
