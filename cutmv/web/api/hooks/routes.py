"""Hooks of the person who asks: make one, test it, see what was told, end it."""

from flask import Blueprint, Response, jsonify

from cutmv.jobs import Deliveries, Hook, Hooks, check_url
from cutmv.people import Refused
from cutmv.web.access import person
from cutmv.web.api.hooks.models import HookBody, HookChange, delivery_json, hook_json
from cutmv.web.api.problems import json_body, validated
from cutmv.web.state import web

#: Why a hook is disabled that its owner has disabled.
BY_OWNER = "You have disabled it."

blueprint = Blueprint("hooks", __name__, url_prefix="/api/webhooks")


@blueprint.get("")
def index() -> Response:
    """One's own webhooks, the oldest first."""
    return jsonify(webhooks=[hook_json(hook) for hook in hooks().of(person().id)])


@blueprint.post("")
def create() -> tuple[Response, int]:
    """Have the ends of one's jobs told to an address; this answer alone has the secret."""
    hook, secret = add(validated(HookBody, json_body()).url)
    return jsonify({**hook_json(hook), "secret": secret}), 201


@blueprint.get("/<hook_id>")
def show(hook_id: str) -> Response:
    """One webhook."""
    return jsonify(hook_json(hooks().get(person().id, hook_id)))


@blueprint.patch("/<hook_id>")
def change(hook_id: str) -> Response:
    """Disable or enable a webhook; what waited when it was disabled has failed."""
    hooks().get(person().id, hook_id)
    enable(hook_id, enabled=validated(HookChange, json_body()).enabled)
    return jsonify(hook_json(hooks().get(person().id, hook_id)))


@blueprint.delete("/<hook_id>")
def delete(hook_id: str) -> tuple[str, int]:
    """End a webhook, with all that was to be told there."""
    hooks().delete(person().id, hook_id)
    return "", 204


@blueprint.post("/<hook_id>/secret")
def renew_secret(hook_id: str) -> Response:
    """Make a new secret; that of before signs, too, for a day."""
    secret = hooks().renew_secret(person().id, hook_id)
    return jsonify({**hook_json(hooks().get(person().id, hook_id)), "secret": secret})


@blueprint.post("/<hook_id>/test")
def test(hook_id: str) -> tuple[Response, int]:
    """Have a test sent."""
    return jsonify(id=f"msg_{add_test(hook_id)}"), 202


@blueprint.get("/<hook_id>/deliveries")
def deliveries(hook_id: str) -> Response:
    """The latest events for a webhook, and what became of them."""
    latest = Deliveries(web().services.store.engine).of(hooks().get(person().id, hook_id))
    return jsonify(deliveries=[delivery_json(each) for each in latest])


def hooks() -> Hooks:
    """The hooks of all people."""
    return Hooks(web().services.store.engine)


def add(url: str) -> tuple[Hook, str]:
    """A new hook of this person, and its secret. Raises Refused."""
    return hooks().add(person().id, check_url(url, anywhere=web().hooks_anywhere))


def enable(hook_id: str, *, enabled: bool) -> None:
    """Enable or disable a hook of this person. Raises UnknownHook."""
    if enabled:
        hooks().enable(person().id, hook_id)
    else:
        hooks().disable(person().id, hook_id, BY_OWNER)


def add_test(hook_id: str) -> str:
    """Have a test sent to a hook of this person; its id. Raises UnknownHook, Refused."""
    hook = hooks().get(person().id, hook_id)
    if hook.disabled_at is not None:
        raise Refused("The webhook is disabled: enable it first.")
    return Deliveries(web().services.store.engine).add_test(hook)
