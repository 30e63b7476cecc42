"""What the transport asks of Celery, and adds to it, in a process that has Celery loaded.

- ``worker``: asks the process's Celery worker.
- ``start``: lets its pool start no task too late.
- ``publish``: has Celery publish canvases by few calls, and lose no retry.

Nothing here imports Celery.
"""
