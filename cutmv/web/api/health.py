"""The health check for probes, and the metrics for Prometheus."""

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from cutmv.web.state import web

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> tuple[Response, int]:
    """Whether the database and the storage answer: 200 when both do, else 503."""
    checks = web().checks.report()
    healthy = all(checks.values())
    words = {name: "ok" if works else "failing" for name, works in checks.items()}
    body = jsonify(status="ok" if healthy else "failing", checks=words)
    return body, 200 if healthy else 503


@blueprint.get("/metrics")
def metrics() -> Response:
    """Metrics in Prometheus' text format."""
    return Response(generate_latest(web().metrics.registry), content_type=CONTENT_TYPE_LATEST)
