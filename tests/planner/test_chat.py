"""The chat planner against a local server that behaves, and one that does not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dreamlayer_jax.planner.chat import MAX_ANSWER_BYTES, ChatError, ChatPlanner, read_plan
from dreamlayer_jax.planner.fallback import plan
from dreamlayer_jax.planner.plan import Plan, PlanError

SENTENCE = "a dog on a beach"
GOOD = {"background": "a sunny beach", "foregrounds": ["a small dog"]}
EXPECTED = Plan(background="a sunny beach", foregrounds=("a small dog",))
KEY = "sk-secret-0123456789"

Reply = Callable[[BaseHTTPRequestHandler], None]


def completion(content: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content if isinstance(content, str) else json.dumps(content)}}]}).encode()


def says(body: bytes, status: int = 200, **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


class Server(ThreadingHTTPServer):
    """Gives each request the next of `replies`, the last of them again and again, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[Reply] = []
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.closing = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """The client hanging up is what some tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        self.server.replies[min(len(self.server.asked), len(self.server.replies)) - 1](self)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers), {}))
        says(completion(GOOD))(self)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv("no_proxy", "*")
    running = []

    def start(*replies: Reply) -> Server:
        server = Server()
        server.replies = list(replies)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.closing.set()
        server.shutdown()
        server.server_close()


def planner(url: str, **options: Any) -> ChatPlanner:
    return ChatPlanner(**{"url": url, "model": "m", "key": KEY, "timeout_s": 5, "sleep": lambda _: None, **options})


def drips(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: the socket is never silent for long, and the answer never ends."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def is_silent(handler: BaseHTTPRequestHandler) -> None:
    handler.server.closing.wait(10)


def raw(*pieces: bytes) -> Reply:
    """Bytes at intervals, whatever HTTP says of them; the last again and again."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        sent = 0
        while not handler.server.closing.wait(0.05):
            handler.wfile.write(pieces[min(sent, len(pieces) - 1)])
            handler.wfile.flush()
            sent += 1

    return reply


ENDLESS = {
    "status line": raw(b"HTTP/1.1 200 O", b"K"),
    "header line": raw(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "headers": raw(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "100 Continue": raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk size": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
}


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(completion(GOOD)[:10])


def never_ends(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.closing.is_set():
        handler.wfile.write(b"x" * (1 << 16))


def test_a_plan_is_asked_for_by_schema_with_the_key(start) -> None:
    server = start(says(completion(GOOD)))
    assert planner(server.url)(SENTENCE) == EXPECTED
    ((path, headers, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "m"
    assert body["messages"][1] == {"role": "user", "content": SENTENCE}
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["background", "foregrounds"]


def test_the_whole_address_does_too_and_no_key_is_no_header(start) -> None:
    server = start(says(completion(GOOD)))
    assert planner(f"{server.url}/chat/completions", key="")(SENTENCE) == EXPECTED
    assert server.asked[0][0] == "/v1/chat/completions"
    assert "Authorization" not in server.asked[0][1]


def test_an_endpoint_without_schemas_is_asked_without(start) -> None:
    server = start(says(b"unknown field", 400), says(completion(f"```json\n{json.dumps(GOOD)}\n```")))
    assert planner(server.url)(SENTENCE) == EXPECTED
    assert "response_format" not in server.asked[1][2]


@pytest.mark.parametrize("first", [says(b"", 500), says(b"", 503), says(b"", 429), says(b"<html>"), hangs_up, says(completion("no JSON"))])
def test_what_may_pass_is_tried_again(start, first: Reply) -> None:
    waited: list[float] = []
    server = start(first, first, says(completion(GOOD)))
    assert planner(server.url, sleep=waited.append)(SENTENCE) == EXPECTED
    assert waited == [0.5, 1.0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_will_not_pass_is_asked_once(start, status: int) -> None:
    server = start(says(b"\x1b[2Jno", status))
    with pytest.raises(ChatError, match=f"refused the request with HTTP status {status}") as caught:
        planner(server.url)(SENTENCE)
    assert len(server.asked) == 1
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("slow", [is_silent, drips, *ENDLESS.values()], ids=["silence", "body", *ENDLESS])
def test_a_slow_answer_is_given_up(start, slow: Reply) -> None:
    server, began = start(slow), time.monotonic()
    with pytest.raises(ChatError, match=r"failed 2 times; the last time: no whole answer within 0\.3 s"):
        planner(server.url, timeout_s=0.3, attempts=2)(SENTENCE)
    assert time.monotonic() - began < 5


def test_an_endless_answer_is_not_kept(start) -> None:
    with pytest.raises(ChatError, match=f"more than {MAX_ANSWER_BYTES} bytes"):
        planner(start(never_ends).url, attempts=1)(SENTENCE)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_key_goes_nowhere(start, status: int) -> None:
    elsewhere = start(says(completion(GOOD)))
    server = start(says(b"", status, Location=f"{elsewhere.url}/chat/completions"))
    with pytest.raises(ChatError, match="redirects elsewhere"):
        planner(server.url)(SENTENCE)
    assert elsewhere.asked == []


def test_nobody_there(start) -> None:
    server = start()
    server.shutdown()
    server.server_close()
    with pytest.raises(ChatError, match="failed 3 times; the last time: no connection"):
        planner(server.url)(SENTENCE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no chat completion"),
        ("[" * 100_000, "no chat completion"),
        ("9" * 10_000, "no chat completion"),
        (["a beach", "a dog"], "the answer is not"),
        ({"background": "a beach"}, "the answer is not"),
        ({**GOOD, "command": "rm"}, "the answer is not"),
        ({**GOOD, "foregrounds": "a dog"}, "the answer is not"),
        ({**GOOD, "foregrounds": {"0": "a dog"}}, "the answer is not"),
        ({**GOOD, "foregrounds": []}, "got 0"),
        ({**GOOD, "foregrounds": ["a dog"] * 17}, "got 17"),
        ({**GOOD, "foregrounds": [["a dog"]]}, "foreground 1 prompt must be text; got list"),
        ({**GOOD, "foregrounds": ["a dog", None]}, "foreground 2 prompt must be text; got NoneType"),
        ({**GOOD, "background": 7}, "background prompt must be text; got int"),
        ({**GOOD, "background": " "}, "background prompt is empty"),
        ({**GOOD, "background": "a" * 201}, "background prompt has 201 characters"),
        ({**GOOD, "background": "a beach\x1b]0;owned\x07"}, "cannot be printed"),
        ({**GOOD, "foregrounds": ["a dog\nand more"]}, "cannot be printed"),
        ({**GOOD, "foregrounds": ["a \u202egod"]}, "cannot be printed"),
        ({**GOOD, "foregrounds": ["a \ud800"]}, "cannot be printed"),
    ],
)
def test_a_hostile_plan_is_no_plan(content: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_plan(completion(content))


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_completion_is_no_plan(body: bytes) -> None:
    with pytest.raises(PlanError, match="no chat completion"):
        read_plan(body)


def test_the_rules_take_over_with_a_warning_that_holds_no_key(start) -> None:
    warnings: list[str] = []
    made = plan(SENTENCE, planner(start(says(f"{KEY} is wrong".encode(), 401)).url), on_warning=warnings.append)
    assert made == Plan(background="a beach", foregrounds=("a dog",))
    (warning,) = warnings
    assert warning.endswith("splitting the sentence by rules instead")
    assert KEY not in warning


def test_nobody_is_asked_about_no_sentence(start) -> None:
    server = start(says(completion(GOOD)))
    with pytest.raises(PlanError, match="empty"):
        plan(" ", planner(server.url))
    assert server.asked == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "host/v1"}, "must be like https://host/v1"),
        ({"url": "file:///etc/passwd"}, "must be like"),
        ({"url": "http://host:port/v1"}, "must be like"),
        ({"url": "http://[host/v1"}, "must be like"),
        ({"url": "http://host/v1\r\nX: y"}, "must be like"),
        ({"url": "https://user:word@host/v1"}, "holds a user name or password"),
        ({"url": "https://user:word@host:port/v1"}, "must be like https://host/v1$"),
        ({"url": "https://host/v1?key=secret"}, "holds a question"),
        ({"url": "file://host/v1?key=secret"}, "must be like https://host/v1$"),
        ({"url": "http://."}, "must be like"),
        ({"url": f"http://{'a' * 64}/v1"}, "must be like"),
        ({"model": " "}, "has no name"),
        ({"key": "secret\r\nX-Injected: 1"}, "line break"),
    ],
)
def test_what_no_request_can_use_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ChatError, match=message) as caught:
        ChatPlanner(**{"url": "http://host/v1", "model": "m", **options})
    assert "word" not in str(caught.value).replace("password", "")
    assert "secret" not in str(caught.value)


def test_a_planner_shown_hides_its_key() -> None:
    assert KEY not in repr(planner("http://host/v1"))
