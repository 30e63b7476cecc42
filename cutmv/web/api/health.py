"""The health check for probes, and the metrics for Prometheus."""

import logging
from collections.abc import Callable

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from cutmv.storage import StorageError
from cutmv.web.state import web

blueprint = Blueprint("health", __name__)
log = logging.getLogger(__name__)


@blueprint.get("/healthz")
def healthz() -> tuple[Response, int]:
    """Whether the database and the storage answer: 200 when both do, else 503."""
    services = web().services
    checks = {
        "database": _works("database", services.store.check),
        "storage": _works("storage", services.storage.check),
    }
    healthy = all(checks.values())
    words = {name: "ok" if works else "failing" for name, works in checks.items()}
    body = jsonify(status="ok" if healthy else "failing", checks=words)
    return body, 200 if healthy else 503


@blueprint.get("/metrics")
def metrics() -> Response:
    """Metrics in Prometheus' text format."""
    return Response(generate_latest(web().metrics.registry), content_type=CONTENT_TYPE_LATEST)


def _works(name: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except (SQLAlchemyError, StorageError, OSError) as error:
        # The answer does not show the error, which may name hosts and paths.
        log.warning("health check: %s: %s: %s", name, type(error).__name__, error)
        return False
    return True
