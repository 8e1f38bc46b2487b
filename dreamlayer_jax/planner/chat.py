"""A sentence split by a chat model behind any OpenAI-compatible endpoint (`POST …/chat/completions`, with a JSON schema for the answer).

What comes back is another program's: it is bounded in size and time, checked like any plan, and never shown before it was checked.
Redirects are refused, because following one could carry the key to another host. The client is the one that the Hugging Face hub's library
brings; cancelling it bounds the whole attempt, where a socket's own timeout starts anew with every byte.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2 as httpx

from dreamlayer_jax.planner.plan import MAX_FOREGROUNDS, MAX_PROMPT, Plan, PlanError, check_sentence

T = TypeVar("T")
MAX_ANSWER_BYTES = 1 << 18
INSTRUCTIONS = (
    "Split the description of a picture into image layers. Answer with JSON only: "
    '{"background": "...", "foregrounds": ["...", "..."]}. The background is one short prompt for the place, without the objects. '
    f"Each foreground is one short prompt for one object, far to near; 1 to {MAX_FOREGROUNDS} of them. Two of a thing are two foregrounds. "
    "Add nothing that the description does not say; if it names no place, choose a plain background."
)
SCHEMA = {
    "type": "object",
    "properties": {
        "background": {"type": "string", "minLength": 1, "maxLength": MAX_PROMPT},
        "foregrounds": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": MAX_PROMPT},
            "minItems": 1,
            "maxItems": MAX_FOREGROUNDS,
        },
    },
    "required": ["background", "foregrounds"],
    "additionalProperties": False,
}
_CONSTRAINTS = {
    "temperature": 0,
    "response_format": {"type": "json_schema", "json_schema": {"name": "layers", "strict": True, "schema": SCHEMA}},
}


class ChatError(PlanError):
    """The endpoint cannot be used, failed at every attempt, or answers what is no plan. Never holds the key or the endpoint's own text."""


class _BadRequest(ChatError):
    """The endpoint does not understand the request."""


class _TryAgain(Exception):
    """An attempt failed in a way that another may not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatPlanner:
    """`ChatPlanner(url="http://localhost:11434/v1", model="…")(sentence)` gives a plan.

    Raises `ChatError` when built, for a URL or key that no request can use.
    """

    url: str
    """The API's base, such as https://host/v1, or the whole address of its chat/completions."""
    model: str
    key: str = dataclasses.field(default="", repr=False)
    """Sent as a bearer token, if there is one."""
    timeout_s: float = 30.0
    """For one attempt, from looking up the host to the last byte, whatever the bytes are and however slowly they come."""
    attempts: int = 3
    backoff_s: float = 0.5
    """Waited after the first failure, and twice as long after each further one."""
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and _is_host(parts.hostname or "") and (parts.port is None or parts.port > 0)
            usable = usable and bool(httpx.URL(self.url).host)
        except (ValueError, httpx.InvalidURL):
            usable = False
        if not usable or not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            secret = any(mark in self.url for mark in "@?#")
            got = "" if secret else f"; got {self.url!a}"  # what stands there may be a password or a key
            raise ChatError(f"the planner's URL must be like https://host/v1{got}")
        if parts.username is not None or parts.password is not None:
            raise ChatError("the planner's URL holds a user name or password; give the key in the environment instead")
        if parts.query or parts.fragment:
            raise ChatError("the planner's URL holds a question or a fragment; give the address alone, and the key in the environment")
        if not self.model.strip():
            raise ChatError("the planner's model has no name; give the one that the endpoint serves")
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise ChatError("the planner's key holds a space, a line break or another character that no key has")

    def __call__(self, sentence: str) -> Plan:
        """Asks until an answer is a plan. Raises `ChatError` after the last attempt, `PlanError` for a sentence that nobody is asked."""
        sentence = check_sentence(sentence)
        failures: list[str] = []
        for attempt in range(self.attempts):
            if attempt:
                self.sleep(self.backoff_s * 2 ** (attempt - 1))
            try:
                return read_plan(self._answer(sentence))
            except ChatError:
                raise
            except (_TryAgain, PlanError) as error:
                failures.append(str(error))
        raise ChatError(f"the planner at {self._host} failed {self.attempts} times; the last time: {failures[-1]}")

    @property
    def _host(self) -> str:
        return httpx.URL(self.url).netloc.decode()

    def _answer(self, sentence: str) -> bytes:
        """The whole answer to one question. An endpoint that does not know the schema's fields is asked once more without them."""
        question = _question(self.model, sentence)
        try:
            return self._post(question | _CONSTRAINTS)
        except _BadRequest:
            return self._post(question)

    def _post(self, question: dict[str, Any]) -> bytes:
        base = self.url.rstrip("/")
        url = base if base.endswith("/chat/completions") else f"{base}/chat/completions"
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        try:
            status, body = _within(self.timeout_s, _asked(url, headers, question))
        except TimeoutError:
            raise _TryAgain(f"no whole answer within {self.timeout_s:g} s") from None
        except (OSError, httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise _TryAgain(f"no connection ({type(error).__name__})") from None
        if status == 429 or status >= 500:
            raise _TryAgain(f"HTTP status {status}")
        if 300 <= status < 400:
            raise ChatError(f"the planner at {self._host} redirects elsewhere; give the final URL")
        if status >= 400:
            refusal = f"the planner at {self._host} refused the request with HTTP status {status}"
            raise (_BadRequest if status in (400, 422) else ChatError)(refusal)
        return body


def _is_host(name: str) -> bool:
    """Whether every label has the 1 to 63 characters that the name system knows."""
    return all(0 < len(label) < 64 for label in name.rstrip(".").split("."))


def _within(seconds: float, answer: Coroutine[Any, Any, T]) -> T:
    """The answer, on an event loop of its own: the caller, a notebook, may be running one. `TimeoutError` after `seconds`."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(asyncio.run, asyncio.wait_for(answer, seconds)).result()
    finally:
        pool.shutdown(wait=False)


async def _asked(url: str, headers: dict[str, str], question: dict[str, Any]) -> tuple[int, bytes]:
    """Status and body of the answer, as long as it stays small. Redirects are not followed, and nobody sends other keys along."""
    body = bytearray()
    async with (
        httpx.AsyncClient(timeout=None, follow_redirects=False) as client,
        client.stream("POST", url, headers=headers, json=question) as response,
    ):
        if response.is_success:
            async for chunk in response.aiter_bytes(1 << 16):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise _TryAgain(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    return response.status_code, bytes(body)


def _question(model: str, sentence: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": sentence}],
    }


def read_plan(answer: bytes) -> Plan:
    """The plan in a chat completion's body, by `SCHEMA`. Raises `PlanError` for anything else."""
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
        asked = json.loads(_without_fence(content))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise PlanError("the answer is no chat completion with JSON in it") from None
    if not isinstance(asked, dict) or set(asked) != set(SCHEMA["required"]) or not isinstance(asked["foregrounds"], list):
        raise PlanError('the answer is not {"background": text, "foregrounds": [text, …]}')
    return Plan(background=asked["background"], foregrounds=tuple(asked["foregrounds"]))


def _without_fence(content: str) -> str:
    """Models without a JSON mode like to wrap their answer in a Markdown code block."""
    lines = content.strip().splitlines()
    fenced = len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```"
    return "\n".join(lines[1:-1]) if fenced else content
