"""Signing in at a real server, from the first start on, as browsers and programs do."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyotp
import pytest
import simple_websocket

from cutmv.web.sockets import CLOSE_SIGNED_OUT
from tests.support.mail import MailServer, mail_server
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server
from tests.support.websocket import Client

BOSS, PASSWORD = "boss@example.com", "correct horse battery"


ADDRESSES = itertools.count(1)


class Browser(httpx.Client):
    """Keeps cookies, and sends what a page's forms do."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=60.0, follow_redirects=True)
        # Each has an address of its own, as a proxy on this machine tells: attempts are bounded.
        self.headers["X-Forwarded-For"] = f"203.0.113.{next(ADDRESSES)}"

    def submit(self, path: str, **fields: str) -> httpx.Response:
        """Fill in a form of a page."""
        token = re.search(r'name="csrf_token" value="(\w+)"', self.get("/account").text)
        known = {"csrf_token": token[1]} if token else {}
        return self.post(path, data={**known, **fields}, headers={"Origin": str(self.base_url)})

    def sign_in(self, email: str, password: str) -> httpx.Response:
        return self.submit("/sign-in", email=email, password=password)

    def new_key(self) -> dict[str, str]:
        """The headers of a program that acts for this person."""
        made = self.submit("/account/keys", name="a program", days="1")
        secret = re.search(r"<code>(cutmv_[\w-]+)</code>", made.text)
        assert secret is not None, made.text
        return {"Authorization": f"Bearer {secret[1]}"}

    @property
    def in_(self) -> bool:
        return self.get("/account").url.path == "/account"


@pytest.fixture(scope="module")
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mails: MailServer) -> Iterator[WebServer]:
    env = {
        "CUTMV_TRUSTED_PROXIES": "127.0.0.1",
        "CUTMV_SMTP_URL": mails.url,
        "CUTMV_URL": "https://cut.example.com/",
    }
    folder = tmp_path_factory.mktemp("web")
    with web_server(folder, CUTMV_SIGN_IN="always", **env) as running:
        yield running


@pytest.fixture(scope="module")
def boss(server: WebServer) -> Browser:
    """The administrator, by the link that the first start printed."""
    printed = re.search(r"https://cut\.example\.com(/link/password/\S+)", server.process.log)
    assert printed is not None, server.process.log
    browser = Browser(server.url)
    assert "Be the administrator" in browser.get(printed[1]).text
    weak = browser.submit(printed[1], email=BOSS, password="password1")
    assert weak.status_code == 422
    assert browser.submit(printed[1], email=BOSS, password=PASSWORD).status_code == 200
    assert browser.get(printed[1]).status_code == 404
    return browser


def invited(boss: Browser, name: str) -> Browser:
    """Somebody who has chosen a password by the link that the administrator was shown."""
    page = boss.submit("/people", email=f"{name}@example.com")
    link = re.search(r"https://cut\.example\.com(/link/password/[\w-]+)", page.text)
    assert link is not None, page.text
    browser = Browser(str(boss.base_url))
    assert browser.submit(link[1], password=PASSWORD).status_code == 200
    assert browser.in_
    return browser


def test_the_first_start_prints_the_link_of_the_administrator(
    server: WebServer, boss: Browser
) -> None:
    assert boss.in_
    assert boss.get("/people").status_code == 200
    assert boss.get("/").status_code == 200


def test_a_browser_is_sent_to_sign_in_and_back(server: WebServer, boss: Browser) -> None:
    browser = Browser(server.url)
    asked = browser.get("/people?a=b")
    assert asked.url.path == "/sign-in"
    assert 'name="next" value="/people?a=b"' in asked.text
    assert "/operators" not in asked.text, "the menu is for those who have signed in"

    landed = browser.submit("/sign-in", email=BOSS, password=PASSWORD, next="/people?a=b")

    assert landed.url.path == "/people"


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_no_sign_in_leads_to_another_site(server: WebServer, boss: Browser, elsewhere: str) -> None:
    answer = httpx.post(
        f"{server.url}/sign-in",
        data={"email": BOSS, "password": PASSWORD, "next": elsewhere},
        timeout=30.0,
    )

    assert answer.status_code == 303
    assert answer.headers["Location"] == "/"


def test_the_cookie_is_for_this_site_and_no_script(server: WebServer, boss: Browser) -> None:
    form = {"email": BOSS, "password": PASSWORD}
    plain = httpx.post(f"{server.url}/sign-in", data=form, timeout=30.0).headers["Set-Cookie"]
    # As a proxy on this machine tells it, which ends TLS.
    tls = httpx.post(
        f"{server.url}/sign-in", data=form, headers={"X-Forwarded-Proto": "https"}, timeout=30.0
    ).headers["Set-Cookie"]

    for cookie in (plain, tls):
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert plain.startswith("cutmv=")
    assert tls.startswith("__Host-cutmv=") and "Secure" in tls.split("; ")


def test_a_wrong_password_and_an_unknown_address_look_the_same(
    server: WebServer, boss: Browser
) -> None:
    wrong = Browser(server.url).sign_in(BOSS, "wrong wrong")
    unknown = Browser(server.url).sign_in("nobody@example.com", "wrong wrong")

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text == unknown.text


def test_who_comes_in_and_who_does_not_is_logged_without_what_they_typed(
    server: WebServer, boss: Browser
) -> None:
    browser = Browser(server.url)
    address = browser.headers["X-Forwarded-For"]
    browser.sign_in(BOSS, "a wrong word")
    browser.sign_in(BOSS, PASSWORD)

    log = server.process.log
    assert f"sign-in refused from {address}\n" in log
    assert re.search(rf"person \w+ signed in from {re.escape(address)}\n", log)
    assert BOSS not in log and PASSWORD not in log and "a wrong word" not in log


def test_signing_out_ends_the_session_itself(server: WebServer, boss: Browser) -> None:
    browser = Browser(server.url)
    browser.sign_in(BOSS, PASSWORD)
    stolen = dict(browser.cookies)
    assert browser.in_

    browser.submit("/sign-out")

    assert not browser.in_
    assert httpx.get(f"{server.url}/api/jobs", cookies=stolen, timeout=30.0).status_code == 401


def test_a_browser_that_signs_in_again_has_one_session(server: WebServer, boss: Browser) -> None:
    browser = Browser(server.url)
    browser.sign_in(BOSS, PASSWORD)
    before = dict(browser.cookies)

    browser.sign_in(BOSS, PASSWORD)

    assert browser.in_
    assert before != dict(browser.cookies)
    assert httpx.get(f"{server.url}/api/jobs", cookies=before, timeout=30.0).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/", "/account", "/account/second-factor", "/webhooks", "/people", "/operators", "/api/docs"],
)
def test_no_browser_keeps_a_page_that_somebody_saw(boss: Browser, path: str) -> None:
    page = boss.get(path)

    assert (page.status_code, page.url.path) == (200, path)
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Cache-Control"] == "no-store"


def test_no_browser_keeps_a_page_of_who_has_yet_to_sign_in(
    server: WebServer, boss: Browser
) -> None:
    browser = Browser(server.url)
    pages = (
        browser.get("/sign-in"),
        browser.sign_in(BOSS, "a wrong word"),
        browser.get("/nowhere", headers={"Accept": "text/html"}),
    )

    assert [page.status_code for page in pages] == [200, 401, 404]
    for page in pages:
        assert page.headers["Content-Type"].startswith("text/html")
        assert page.headers["Cache-Control"] == "no-store", page.url


def test_a_changed_password_ends_the_other_sessions(server: WebServer, boss: Browser) -> None:
    ann = invited(boss, "ann")
    other = Browser(server.url)
    other.sign_in("ann@example.com", PASSWORD)
    refused = ann.submit("/account/password", current="wrong", password="a new good one")
    assert refused.status_code == 403

    changed = ann.submit("/account/password", current=PASSWORD, password="a new good one")

    assert changed.status_code == 200
    assert ann.in_
    assert not other.in_
    form = re.search(r'name="csrf_token" value="(\w+)"', changed.text)
    assert form, "the page that tells of it has forms that work"
    key = {"csrf_token": form[1], "name": "a program", "days": "1"}
    assert ann.post("/account/keys", data=key).status_code == 200


class App:
    """An app for codes, which has read a page's QR code."""

    def __init__(self, page: str) -> None:
        secret = re.search(r"<code>([A-Z2-7]{32})</code>", page)
        assert secret and "<svg" in page, page
        self.secret = secret[1]

    def code(self) -> str:
        """The one that it shows next, which is taken, too: each code is good once."""
        return pyotp.TOTP(self.secret).generate_otp(int(time.time()) // 30 + 1)

    def first_code(self) -> str:
        return pyotp.TOTP(self.secret).now()


def with_second_factor(boss: Browser, name: str) -> tuple[Browser, App, list[str]]:
    """Somebody who has turned it on, with the app and the recovery codes."""
    person = invited(boss, name)
    app = App(person.get("/account/second-factor").text)
    form = {"secret": app.secret, "current": PASSWORD, "code": app.first_code()}
    done = person.submit("/account/second-factor", **form)
    codes = re.findall(r"<code>([A-Z2-7]{6}(?:-[A-Z2-7]{6}){3})</code>", done.text)
    assert done.status_code == 200 and len(codes) == 10, done.text
    return person, app, codes


def code_asked(answer: httpx.Response, status: int = 200) -> dict[str, str]:
    """The hidden fields of the page that asks for a code."""
    token = re.search(r'name="token" value="([\w-]+)"', answer.text)
    assert answer.status_code == status and token, answer.text
    return {"token": token[1]}


def test_who_has_a_second_factor_comes_in_by_a_code_of_the_app_once(
    server: WebServer, boss: Browser
) -> None:
    _, app, _ = with_second_factor(boss, "dora")
    browser, code = Browser(server.url), app.code()

    asked = code_asked(browser.sign_in("dora@example.com", PASSWORD))
    assert not browser.in_, "the password alone does not do"
    stolen = httpx.get(f"{server.url}/account", cookies={"cutmv": asked["token"]}, timeout=30.0)
    assert stolen.status_code == 303, "the form's token is no session"
    wrong = browser.submit("/sign-in/code", **asked, code="000000")
    assert not browser.in_
    landed = browser.submit("/sign-in/code", **code_asked(wrong, 401), code=code, next="/webhooks")

    assert browser.in_ and landed.url.path == "/webhooks"
    again = code_asked(Browser(server.url).sign_in("dora@example.com", PASSWORD))
    assert browser.submit("/sign-in/code", **again, code=code).status_code == 401
    assert browser.submit("/sign-in/code", **asked, code=app.code()).status_code == 401


def test_a_key_gives_nobody_more_than_it_has(server: WebServer, boss: Browser) -> None:
    key = boss.new_key()
    asked = lambda method, path, **body: httpx.request(  # noqa: E731
        method, f"{server.url}{path}", json=body, headers=key, timeout=30.0
    )

    other = {"email": "other@example.com"}
    for more in ({"password": PASSWORD}, {"is_admin": True}):
        refused = asked("POST", "/api/people", **other, **more)
        assert refused.status_code == 403 and "no API key" in refused.json()["detail"]
    made = asked("POST", "/api/people", **other)
    assert made.status_code == 201
    path = f"/api/people/{made.json()['id']}"
    for more in ({"email": "else@example.com"}, {"is_admin": True}, {"is_admin": False}):
        assert asked("PATCH", path, **more).status_code == 403
    assert asked("PATCH", path, disabled=True, quotas={"jobs": 1}).status_code == 200
    assert boss.get("/api/people").json()["people"][-1]["is_admin"] is False


def test_who_is_no_administrator_any_more_sees_nothing_of_others_by_no_way(
    server: WebServer, boss: Browser
) -> None:
    nora = invited(boss, "nora")
    (nora_id,) = [
        each["id"] for each in boss.get("/api/people").json()["people"] if "nora" in each["email"]
    ]
    assert nora.get("/people").status_code == 403
    assert boss.submit(f"/people/{nora_id}", do="promote").status_code == 200
    assert nora.get("/people").status_code == 200
    address = server.url.replace("http", "ws") + "/ws/jobs"
    by_key = simple_websocket.Client.connect(address, headers=nora.new_key())

    assert boss.submit(f"/people/{nora_id}", do="demote").status_code == 200

    assert not nora.in_, "the session ends"
    with pytest.raises(simple_websocket.ConnectionClosed) as closed:
        while by_key.receive(timeout=30):
            pass
    assert closed.value.reason == CLOSE_SIGNED_OUT
    moved = boss.submit(f"/people/{nora_id}", do="address", email="nora@example.org")
    assert moved.status_code == 200 and "nora@example.org" in moved.text


@pytest.mark.parametrize("kind", ["sign-in", "password"])
def test_a_mailed_link_needs_the_second_factor_too(
    server: WebServer, boss: Browser, mails: MailServer, kind: str
) -> None:
    name = f"erin-{kind}"
    _, _, codes = with_second_factor(boss, name)
    mails.mails.clear()
    browser = Browser(server.url)
    wanted = {"password": "1"} if kind == "password" else {}
    browser.submit("/sign-in/mail", email=f"{name}@example.com", **wanted)
    mail = wait_for(lambda: next(iter(mails.mails), None), 20.0, "the mail comes")
    link = re.search(
        r"https://cut\.example\.com(/link/[\w-]+/[\w-]+)", str(mail.get_payload(decode=True))
    )
    assert link

    if kind == "password":  # who has the link alone changes nothing
        for code in ("", "000000"):
            refused = browser.submit(link[1], password="another good one", code=code)
            assert refused.status_code == 403
            assert Browser(server.url).sign_in(f"{name}@example.com", PASSWORD).status_code == 200
        browser.submit(link[1], password="another good one", code=codes[0])
    else:
        asked = code_asked(browser.submit(link[1]))
        assert not browser.in_
        browser.submit("/sign-in/code", **asked, code=codes[0])

    assert browser.in_
    assert browser.submit(link[1], password=PASSWORD, code=codes[1]).status_code == 404


def test_people_read_a_page_where_programs_get_a_problem(server: WebServer, boss: Browser) -> None:
    accept = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    bob = invited(boss, "bobby")
    asked = (
        (Browser(server.url), "GET", "/link/password/none", 404, "good no more"),
        (Browser(server.url), "GET", "/nowhere", 404, "not found"),
        (Browser(server.url), "POST", "/sign-out", 401, "Sign in first"),
        (bob, "GET", "/people", 403, "for administrators"),
        (bob, "POST", "/account/retention", 403, "out of date"),
    )
    for browser, method, path, status, said in asked:
        origin = {"Origin": str(browser.base_url)} if method == "POST" else {}
        page = browser.request(method, path, headers={**accept, **origin})
        assert (page.status_code, page.headers["content-type"]) == (
            status,
            "text/html; charset=utf-8",
        )
        assert said in page.text and "To the start" in page.text, path
        problem = browser.request(method, path, headers={"Accept": "*/*", **origin})
        assert problem.headers["content-type"] == "application/problem+json"
        assert problem.status_code == status
    api = bob.get("/api/jobs/none", headers=accept)
    assert api.headers["content-type"] == "application/problem+json"
    other = httpx.get(server.url, headers={**accept, "Host": "evil.example"})
    assert (other.status_code, other.headers["content-type"]) == (421, "application/problem+json")


def test_keys_change_nothing_of_how_somebody_signs_in(server: WebServer, boss: Browser) -> None:
    gil = invited(boss, "gina")
    key = gil.new_key()
    program = httpx.Client(base_url=server.url, headers=key)
    for path, form in (
        ("/account/password", {"current": PASSWORD, "password": "another good one"}),
        ("/account/sign-out-everywhere", {}),
        ("/account/keys", {"name": "a", "days": "366"}),
        ("/account/second-factor", {}),
    ):
        refused = program.post(path, data=form)
        assert refused.status_code == 403, path
        assert "set-cookie" not in refused.headers
    assert program.post("/api/keys", json={"name": "a", "days": 366}).status_code == 403
    assert program.get("/api/keys").status_code == 200
    assert gil.in_


def test_right_codes_are_no_attempts(server: WebServer, boss: Browser) -> None:
    browser, _, codes = with_second_factor(boss, "hana")
    for code in codes[:8]:
        asked = code_asked(browser.sign_in("hana@example.com", PASSWORD))
        assert browser.submit("/sign-in/code", **asked, code="000000").status_code == 401
        assert browser.submit("/sign-in/code", **asked, code=code).status_code == 200


def test_who_waits_for_a_code_that_is_asked_for_no_more_is_told_so(
    server: WebServer, boss: Browser
) -> None:
    browser, _, codes = with_second_factor(boss, "irma")
    asked = code_asked(Browser(server.url).sign_in("irma@example.com", PASSWORD))
    assert browser.submit("/account/second-factor/off", code=codes[0]).status_code == 200

    told = browser.submit("/sign-in/code", **asked, code=codes[1])

    assert told.status_code == 401 and "was turned off" in told.text


def test_the_second_factor_is_turned_on_by_who_knows_the_password_and_off_by_a_code(
    server: WebServer, boss: Browser
) -> None:
    fay = invited(boss, "fay")
    app = App(fay.get("/account/second-factor").text)
    form = {"secret": app.secret, "code": app.first_code()}
    assert fay.submit("/account/second-factor", **form, current="wrong").status_code == 403
    wrong = {**form, "code": "000000", "current": PASSWORD}
    refused = fay.submit("/account/second-factor", **wrong)
    assert refused.status_code == 422 and app.secret in refused.text, "the QR code is the same"
    other = Browser(server.url)
    other.sign_in("fay@example.com", PASSWORD)

    done = fay.submit("/account/second-factor", **form, current=PASSWORD)

    assert done.status_code == 200 and fay.in_ and not other.in_
    (recovery, *_) = re.findall(r"<code>([A-Z2-7-]{27})</code>", done.text)
    assert app.secret not in fay.get("/account/second-factor").text
    assert fay.submit("/account/second-factor/off", code="000000").status_code == 403
    assert fay.submit("/account/second-factor/off", code=recovery).status_code == 200
    other.sign_in("fay@example.com", PASSWORD)
    assert other.in_


def test_a_page_to_turn_it_on_always_has_a_secret(server: WebServer, boss: Browser) -> None:
    ida = invited(boss, "ida")

    answers = [
        ida.submit("/account/second-factor", secret="A" * 9_000, current="wrong"),
        ida.submit("/account/second-factor", secret="", current=PASSWORD, code="000000"),
        ida.submit("/account/second-factor/off", code="000000"),
    ]
    answers += [ida.submit("/account/second-factor", current="wrong") for _ in range(30)]

    assert [answer.status_code for answer in answers][:3] == [403, 422, 403]
    assert answers[-1].status_code == 429 and int(answers[-1].headers["Retry-After"]) > 0
    for answer in answers:
        App(answer.text)


def test_attempts_at_a_code_are_few(server: WebServer, boss: Browser) -> None:
    _, app, _ = with_second_factor(boss, "gil")
    browser = Browser(server.url)
    asked = code_asked(browser.sign_in("gil@example.com", PASSWORD))
    # Each from another address, as a proxy on this machine tells it.
    told = [
        browser.post(
            "/sign-in/code",
            data={**asked, "code": "000000"},
            headers={"X-Forwarded-For": f"198.51.100.{n}"},
        ).status_code
        for n in range(11)
    ]

    assert told == [401] * 10 + [429]
    refused = browser.submit("/sign-in/code", **asked, code=app.code())
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 3000


def test_an_administrator_turns_off_anothers_second_factor_but_not_the_own_so(
    server: WebServer, boss: Browser
) -> None:
    with_second_factor(boss, "hal")
    page = boss.get("/people").text
    hal = re.search(r"hal@example\.com.*?/people/(\w+)", page, re.DOTALL)
    own = re.search(r"boss@example\.com.*?/people/(\w+)", page, re.DOTALL)
    assert hal and own and "may sign in, second factor" in page
    assert boss.submit(f"/people/{own[1]}", do="second-factor").status_code == 422

    assert boss.submit(f"/people/{hal[1]}", do="second-factor").status_code == 200

    browser = Browser(server.url)
    browser.sign_in("hal@example.com", PASSWORD)
    assert browser.in_


def test_mailed_links_sign_in_once_and_tell_nobody_who_has_an_account(
    server: WebServer, boss: Browser, mails: MailServer
) -> None:
    invited(boss, "bob")
    mails.mails.clear()
    browser = Browser(server.url)
    known = browser.submit("/sign-in/mail", email="bob@example.com")
    unknown = browser.submit("/sign-in/mail", email="eve@example.com")
    assert known.text == unknown.text

    mail = wait_for(lambda: next(iter(mails.mails), None), 20.0, "the mail comes")

    assert mail["To"] == "bob@example.com"
    assert mail["From"] == "cutmv@cut.example.com"
    link = re.search(
        r"https://cut\.example\.com(/link/sign-in/[\w-]+)", str(mail.get_payload(decode=True))
    )
    assert link is not None
    assert browser.get(link[1]).status_code == browser.get(link[1]).status_code == 200
    assert browser.submit(link[1]).url.path == "/"
    assert browser.in_
    assert Browser(server.url).post(link[1]).status_code == 404
    assert len(mails.mails) == 1


def test_a_program_acts_for_its_person_by_a_key(
    server: WebServer, boss: Browser, tmp_path: Path
) -> None:
    cat, dan = invited(boss, "cat"), invited(boss, "dan")
    headers = cat.new_key()
    video = make_sample(tmp_path / "v.mp4", seconds=1.0, size=(160, 90)).read_bytes()
    with httpx.Client(base_url=server.url, timeout=60.0) as program:
        upload = program.post("/api/uploads", content=video, headers=headers)
        wanted = {"upload_id": upload.json()["id"], "clips": ["0-1"]}
        job = program.post("/api/jobs", json=wanted, headers=headers).json()["id"]
        assert program.get("/api/jobs", headers=headers).json()["jobs"][0]["id"] == job
        watched = f"{server.url.replace('http', 'ws')}/ws/jobs/{job}"
        assert '"snapshot"' in Client(watched, headers=headers).receive(30.0)
        for ours, status in ((dan.new_key(), 404), ({}, 401)):
            with pytest.raises(simple_websocket.ConnectionError) as refused:
                Client(watched, headers=ours)
            assert refused.value.status_code == status


def test_a_websocket_ends_with_the_account(
    server: WebServer, boss: Browser, tmp_path: Path
) -> None:
    eli = invited(boss, "eli")
    headers = eli.new_key()
    video = make_sample(tmp_path / "v.mp4", seconds=4.0).read_bytes()
    with httpx.Client(base_url=server.url, timeout=60.0, headers=headers) as program:
        upload = program.post("/api/uploads", content=video).json()["id"]
        wanted = {"upload_id": upload, "clips": ["0-4"] * 40}
        job = program.post("/api/jobs", json=wanted).json()["id"]
        socket = Client(f"{server.url.replace('http', 'ws')}/ws/jobs/{job}", headers=headers)
        everybody = {each["email"]: each["id"] for each in boss.get("/api/people").json()["people"]}
        boss.submit(f"/people/{everybody['eli@example.com']}", do="disable")

        with pytest.raises(simple_websocket.ConnectionClosed) as closed:
            while socket.receive(30.0) is not None:
                pass
        assert closed.value.reason == CLOSE_SIGNED_OUT
        assert program.get("/api/jobs").status_code == 401
    boss.submit(f"/people/{everybody['eli@example.com']}", do="delete")
    assert "eli@example.com" not in boss.get("/people").text


def test_an_upload_that_ends_after_its_account_is_kept_by_nobody(
    server: WebServer, boss: Browser, tmp_path: Path
) -> None:
    zoe = invited(boss, "zoe")
    everybody = {each["email"]: each["id"] for each in boss.get("/api/people").json()["people"]}
    free = (2_000_000).to_bytes(4) + b"free" + bytes(2_000_000 - 8)
    video = make_sample(tmp_path / "v.mp4", seconds=1.0).read_bytes() + free
    kept = server.stored()

    def body() -> Iterator[bytes]:
        yield video[: len(video) // 2]
        wait_for(lambda: len(server.stored()) > len(kept), what="it is being stored")
        boss.submit(f"/people/{everybody['zoe@example.com']}", do="delete")
        assert "zoe@example.com" not in boss.get("/people").text
        yield video[len(video) // 2 :]

    answer = httpx.post(
        f"{server.url}/api/uploads", content=body(), headers=zoe.new_key(), timeout=60.0
    )

    assert (answer.status_code, answer.json()["detail"]) == (
        401,
        "The account is disabled or deleted.",
    )
    assert server.stored() == kept


def test_numbers_of_thousands_of_digits_are_refused(server: WebServer, boss: Browser) -> None:
    nines = "9" * 5_000
    me = boss.get("/api/people").json()["people"][0]["id"]

    for answer in (
        boss.submit("/account/keys", name="a program", days=nines),
        boss.submit(f"/people/{me}", do="quotas", uploads=nines),
    ):
        assert answer.status_code == 422, answer.text


def test_attempts_are_bounded_by_address(server: WebServer, boss: Browser) -> None:
    def attempt(address: str) -> httpx.Response:
        # The proxy on this machine tells whose request it is, after what the client itself says.
        said = {"X-Forwarded-For": f"198.51.100.1, {address}"}
        form = {"email": "nobody@example.com"}
        return httpx.post(f"{server.url}/sign-in/mail", data=form, headers=said, timeout=30.0)

    answers = [attempt("192.0.2.7") for _ in range(31)]

    assert [answer.status_code for answer in answers] == [200] * 30 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 300
    assert attempt("192.0.2.8").status_code == 200
    assert Browser(server.url).sign_in(BOSS, PASSWORD).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", pytest.param("[::]", marks=pytest.mark.slow)])
def test_the_documented_command_has_people_sign_in_on_all_addresses(
    tmp_path: Path, host: str
) -> None:
    env = {"CUTMV_ADMIN_EMAIL": BOSS, "CUTMV_ADMIN_PASSWORD": PASSWORD}
    with web_server(tmp_path, host=host, **env) as server:
        assert httpx.get(f"{server.url}/api/jobs", timeout=30.0).status_code == 401
        browser = Browser(server.url)
        assert browser.get("/").url.path == "/sign-in"
        assert browser.sign_in(BOSS, PASSWORD).url.path == "/"
        assert "/link/" not in server.process.log
