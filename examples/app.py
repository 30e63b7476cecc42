"""A Celery app on Cloudflare Queues; the account and the token are in the environment.

celery -A app worker --loglevel INFO    # in one terminal, in this folder
python app.py                           # in another
"""

from celery import Celery

import cutmv.transports.cloudflare  # noqa: F401 - names the transport to kombu

app = Celery("app", broker="cloudflare://")


@app.task
def add(x: int, y: int) -> int:
    return x + y


if __name__ == "__main__":
    print("sent", add.delay(2, 3).id)
