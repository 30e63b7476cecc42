"""A span of OpenTelemetry for each request, where spans are sent somewhere."""

from flask import Flask, Response, g, request

from cutmv.tracing import is_traced, span

#: Endpoints whose requests are many, and tell nothing.
UNTRACED = {"static", "health.healthz", "health.metrics"}


def register(app: Flask) -> None:
    """Trace the requests of `app`; costs nothing where nothing is traced."""
    if not is_traced():
        return
    app.before_request(_begin)
    app.after_request(_note)
    app.teardown_request(_end)


def _begin() -> None:
    rule = request.url_rule
    if rule is None or rule.websocket or request.endpoint in UNTRACED:
        return
    # The rule, not the path, which may have a secret in it.
    about = {"http.request.method": request.method, "http.route": rule.rule}
    g.spanned = span(f"{request.method} {rule.rule}", about, kind="SERVER", carrier=_carrier())
    g.span = g.spanned.__enter__()


def _carrier() -> dict[str, str]:
    """The context that a request brings, by names in lower case."""
    return {name.lower(): value for name, value in request.headers.items()}


def _note(response: Response) -> Response:
    if "span" in g:
        g.span.set_attribute("http.response.status_code", response.status_code)
    return response


def _end(error: BaseException | None) -> None:
    if "span" in g:
        g.pop("span")
        g.pop("spanned").__exit__(type(error) if error else None, error, None)
