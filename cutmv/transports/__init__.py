"""Message transports for kombu. They know nothing of video; any Celery app can use them."""
