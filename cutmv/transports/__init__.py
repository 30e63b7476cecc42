"""Message transports for kombu. They know nothing of video; any Celery app can use them.

There is one, `cloudflare`. A transport may import nothing of the rest of CUTMV.
"""
