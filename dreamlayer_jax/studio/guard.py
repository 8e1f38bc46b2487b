"""Who may speak to the studio: pages that it served itself, to a browser on this machine or with its token.

* The Host must be a name of this machine, so that a foreign name that is made to point here (DNS rebinding) reaches nothing.
* A request that changes anything must come from our own page: its Origin is the Host that it asks, and nothing else.
* Where the studio is bound to another address than loopback, every request needs the token, from the address that the terminal shows once
  and from a cookie after that.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "studio_token"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware. `token` is None on loopback."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            refusal.headers.update(HEADERS)
            await refusal(scope, receive, send)
            return

        async def with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.lower().encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._token is None and _name(host) not in LOOPBACK:
            return _no(421, "this studio answers at http://127.0.0.1 only")
        if self._token is not None and (refusal := self._without_token(scope, headers)) is not None:
            return refusal
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != host
        if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return _no(403, "another page asked for this; open the studio's own")
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            return _no(403, "the request does not say which page it is from")
        return None

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        given = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if hmac.compare_digest(given.encode(), self._token.encode()):
            return None
        asked = QueryParams(scope["query_string"]).get("token", "")
        if scope["path"] == "/" and hmac.compare_digest(asked.encode(), self._token.encode()):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return answer
        return _no(401, "the studio's token is missing; open the address that its terminal shows")


def _name(host: str) -> str:
    """The Host without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host


def _no(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)
