"""Metrics for Prometheus: of this application's `own` requests, and what the monitor has `seen`.

The package may import `cutmv.monitoring` and everything below.
"""

from cutmv.web.metrics.own import Metrics, register

__all__ = ["Metrics", "register"]
