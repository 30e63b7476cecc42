"""Where Celery keeps results: `cloudflare`, in the edge Worker, for any Celery app."""
