import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import kombu
import pytest

from cutmv.transports.cloudflare.api import Credentials
from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.kombu_options import foreign
from cutmv.transports.cloudflare.options import Options


def test_nothing_given_means_the_documented_defaults() -> None:
    options = Options.read({}, environ={})

    assert options == Options()
    assert options.visibility_timeout is None
    assert options.lease_ledger == "auto"
    assert Options.read({"lease_ledger": ""}).lease_ledger == "none"
    assert options.polling_interval_max == 1


def test_every_option_is_documented_with_its_default() -> None:
    for option in dataclasses.fields(Options):
        assert f"    {option.name}: " in (Options.__doc__ or "")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"visibilty_timeout": 3}, "no such option: visibilty_timeout"),
        ({"visibility_timeout": "300"}, "visibility_timeout must be a number, not '300'"),
        ({"visibility_timeout": True}, "visibility_timeout must be a number, not True"),
        ({"visibility_timeout": 0}, "visibility_timeout must be 1 to 43200, not 0"),
        ({"create_missing_queues": 1}, "create_missing_queues must be true or false, not 1"),
        ({"gossip": "yes"}, "gossip must be true or false, not 'yes'"),
        ({"publish_batch_size": 101}, "publish_batch_size must be 1 to 100"),
        ({"api_base_url": "api.cloudflare.com"}, r"api_base_url must be an http\(s\) URL"),
        ({"pulled_queues": ["long", 1]}, "pulled_queues must be a list of texts"),
        ({"foreign_messages": "q"}, "foreign_messages must be a task's name for each queue's"),
        ({"foreign_messages": {"q": ""}}, "foreign_messages must be a task's name for each"),
        ({"foreign_messages": {"q": 1}}, "foreign_messages must be a task's name for each"),
        ({"queue_max_retries": 101}, "queue_max_retries must be 0 to 100, not 101"),
        ({"dead_letter_queue": "dead"}, "dead_letter_queue must hold {queue} and more"),
        ({"dead_letter_queue": "{queue}"}, "dead_letter_queue must hold {queue} and more"),
        ({"large_messages": "s3://bucket"}, "large_messages must be r2://BUCKET/PREFIX or file:"),
        ({"priority_steps": [3, 6]}, r"priority_steps must be whole numbers .* not \[3, 6\]"),
        ({"priority_steps": [0, 6, 3]}, "priority_steps must be whole numbers that rise"),
        ({"priority_steps": [0, 10]}, "priority_steps must be whole numbers that rise"),
        ({"priority_steps": [0, True]}, "priority_steps must be a list of whole numbers"),
        ({"priority_steps": 3}, "priority_steps must be a list of whole numbers, not 3"),
        ({"compression": "zstd"}, "compression must be zlib, bzip2 or lzma, not 'zstd'"),
        ({"compression": ""}, "compression must be zlib, bzip2 or lzma, not ''"),
        ({"polling_interval_min": 5}, "polling_interval_max must be 5 to 3600, not 1.0"),
    ],
)
def test_a_wrong_option_is_one_clear_line(given: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigurationError, match=line) as caught:
        Options.read(given, environ={})
    assert "\n" not in str(caught.value)


def test_what_kombu_itself_puts_among_the_options_is_let_through() -> None:
    retry_policy = {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1}

    assert Options.read({**retry_policy, "visibility_timeout": 60}, environ={}) == Options(
        visibility_timeout=60
    )


def test_priority_steps_may_be_a_list_and_the_options_stay_hashable() -> None:
    options = Options.read({"priority_steps": [0, 3, 6, 9]}, environ={})

    assert options == Options(priority_steps=(0, 3, 6, 9))
    assert hash(options)


def test_the_environment_names_the_api_and_an_option_wins_over_it() -> None:
    environ = {"CLOUDFLARE_API_BASE_URL": "http://127.0.0.1:1/client/v4"}

    assert Options.read({}, environ).api_base_url == "http://127.0.0.1:1/client/v4"
    assert Options.read({"api_base_url": "http://other"}, environ).api_base_url == "http://other"


def test_missing_credentials_are_named() -> None:
    with pytest.raises(ConfigurationError, match="CLOUDFLARE_API_TOKEN and CLOUDFLARE_ACCOUNT_ID"):
        Credentials.read(None, None, environ={})
    with pytest.raises(ConfigurationError, match="CLOUDFLARE_ACCOUNT_ID missing"):
        Credentials.read(None, "token", environ={})


def test_the_environment_fills_in_what_the_url_leaves_out() -> None:
    environ = {"CLOUDFLARE_API_TOKEN": "t", "CLOUDFLARE_ACCOUNT_ID": "a"}

    assert Credentials.read(None, None, environ) == Credentials("a", "t")
    assert Credentials.read("b", None, environ) == Credentials("b", "t")


def test_the_token_is_in_no_repr() -> None:
    assert "s3cret" not in repr(Credentials("account", "s3cret"))


def test_a_token_that_would_break_a_header_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Credentials.read("account", "s3cret\r\nX: y", environ={})
    assert "s3cret" not in str(caught.value)


def test_a_missing_token_stops_the_connection_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "account")

    with pytest.raises(ConfigurationError, match="CLOUDFLARE_API_TOKEN missing: set it"):
        kombu.Connection("cloudflare://").connect()


def test_a_wrong_option_stops_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    connection = kombu.Connection(
        "cloudflare://:s3cret@account", transport_options={"visibility": 3}
    )

    with pytest.raises(ConfigurationError, match="no such option: visibility"):
        connection.connect()
    assert "s3cret" not in caplog.text


def test_importing_the_package_registers_the_alias_and_little_else() -> None:
    code = """
import sys
import cutmv.transports.cloudflare
from kombu.transport import TRANSPORT_ALIASES
assert TRANSPORT_ALIASES["cloudflare"] == "cutmv.transports.cloudflare.transport:Transport"
heavy = {"flask", "boto3", "sqlalchemy", "httpx", "celery", "pydantic", "click"} & set(sys.modules)
assert not heavy, heavy
ours = {name for name in sys.modules if name.startswith("cutmv.")}
assert all(name.startswith("cutmv.transports") for name in ours), ours
import cutmv.transports.cloudflare.transport
heavy = {"flask", "boto3", "sqlalchemy", "celery", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_ledger_s_password_may_stay_in_the_environment() -> None:
    environ = {"LEDGER": "redis://:secret@host:6379/0"}
    options = Options.read({"lease_ledger": "env:LEDGER"}, environ)
    assert options.lease_ledger == environ["LEDGER"]
    assert "secret" not in repr(options)
    with pytest.raises(ConfigurationError, match="'env:OTHER', but there is no such variable"):
        Options.read({"lease_ledger": "env:OTHER"}, environ)


def test_a_ledger_needs_a_queue_that_delivers_again() -> None:
    with pytest.raises(ConfigurationError, match="queue_max_retries must be 1 or more"):
        Options(lease_ledger="file:///var/lib/leases", queue_max_retries=0)


def test_options_of_other_brokers_are_passed_over_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    foreign.cache_clear()
    given = {"socket_timeout": 30, "fanout_prefix": True, "visibility_timeout": 3600}
    assert Options.read(given, {}).visibility_timeout == 3600
    assert Options.read(given, {}) == Options(visibility_timeout=3600)
    [line] = caplog.messages
    assert "fanout_prefix, socket_timeout" in line
    with pytest.raises(ConfigurationError, match="no such option: visibility_timout"):
        Options.read({"socket_timeout": 30, "visibility_timout": 1}, {})


def test_in_a_failover_list_what_is_unknown_is_meant_for_another_broker() -> None:
    given = {"anything": 1, "visibility_timeout": 86_400}
    assert Options.read(given, {}, shared=True) == Options(visibility_timeout=43_200)
    with pytest.raises(ConfigurationError, match="visibility_timeout must be"):
        Options.read({"visibility_timeout": 86_400}, {})


def test_a_token_may_be_in_a_file_which_gets_another(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    environ = {"CLOUDFLARE_ACCOUNT_ID": "a", "CLOUDFLARE_API_TOKEN_FILE": str(secret)}
    with pytest.raises(ConfigurationError, match="can't be read: No such file"):
        Credentials.read(None, None, environ)
    secret.write_text("s3cret\n")
    credentials = Credentials.read(None, None, environ)
    assert (credentials.token, credentials.newest_token()) == ("s3cret", "s3cret")
    assert "s3cret" not in repr(credentials)
    secret.write_text("n3w")
    assert credentials.newest_token() == "n3w"
    for broken in ("", "two words"):
        secret.write_text(broken)
        assert credentials.newest_token() == "s3cret"
    secret.unlink()
    assert credentials.newest_token() == "s3cret"
    assert Credentials.read(None, "given", environ) == Credentials("a", "given")


def test_messages_of_a_queue_may_stand_for_a_task() -> None:
    options = Options.read({"foreign_messages": {"events": "app.on_event"}}, environ={})

    assert options.task_of_foreign("events") == "app.on_event"
    assert options.task_of_foreign("work") is None
    assert hash(options)
