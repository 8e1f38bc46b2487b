"""The studio's addresses: one page, and what it asks. A scene belongs to the tab that made it, whose name nobody can guess."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path, PurePath
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dreamlayer_jax.picture import PictureError
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.prompts import PromptError
from dreamlayer_jax.request import DEFAULT_STEPS, RequestError
from dreamlayer_jax.studio import asked, making
from dreamlayer_jax.studio.document import Look
from dreamlayer_jax.studio.downloads import NAMES, TYPES, download
from dreamlayer_jax.studio.guard import Guard
from dreamlayer_jax.studio.limits import Limits, StudioError, TooMuch
from dreamlayer_jax.studio.tab import Tab
from dreamlayer_jax.studio.wire import A, checked, http_error, parts, png, refused
from dreamlayer_jax.studio.work import Queue, Work

PAGE = Path(__file__).parent / "page"
FAILURES = (StudioError, RequestError, PromptError, PictureError)
GRACE = 5.0
"""Seconds that a tab may be without its stream of events, as when it reloads a broken line, before it counts as closed."""
BEAT = 5.0
"""Seconds between signs of life on that stream."""


class Studio:
    """The tabs of one server, its queue and its folder."""

    def __init__(
        self,
        model: DreamLayer,
        words: dict[str, list[str]] | None = None,
        limits: Limits | None = None,
        grace: float = GRACE,
        doubt: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """`words`: backgrounds and foregrounds that the model knows, which the page proposes. `doubt`: what is to be said of a prompt."""
        self.model, self.words, self.limits, self.grace, self.doubt = model, words or {}, limits or Limits(), grace, doubt
        self.queue = Queue(self.limits.waiting, FAILURES)
        self.tabs: dict[str, Tab] = {}
        self._closing: set[asyncio.Task] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="dreamlayer-studio-")

    def app(self, token: str | None = None) -> Starlette:
        """The ASGI application. `token`: None where it listens on loopback alone."""
        tab = "/api/tabs/{tab}"
        routes = [
            Route("/", self._page),
            Route("/api/tabs", self._open_tab, methods=["POST"]),
            Route(f"{tab}/events", self._of_tab(self._events)),
            Route(f"{tab}/layers/{{number:int}}.png", self._of_tab(self._layer)),
            Route(f"{tab}/composite.png", self._of_tab(self._composite)),
            Route(f"{tab}/download/{{form}}", self._of_tab(self._download)),
            Route(f"{tab}/uploads", self._of_tab(self._upload), methods=["POST"]),
            *(Route(f"{tab}/{name}", self._of_tab(do), methods=["POST"]) for name, do in self._asked().items()),
            Mount("/page", StaticFiles(directory=PAGE)),
        ]
        handlers = {StudioError: refused, TooMuch: refused, HTTPException: http_error}
        guard = Middleware(Guard, token=token)
        app = Starlette(routes=routes, middleware=[guard], exception_handlers=handlers, lifespan=self._lifespan)
        app.state.studio = self
        return app

    def warm_up(self) -> None:
        """The first scene and the first edit come sooner after it; it gives way to whatever is asked for."""
        self.queue.put_spare(Work("", "warming up", lambda report: making.warm_up(self.model, report), lambda _: None))

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        for tab in list(self.tabs.values()):
            tab.close()
        await asyncio.to_thread(self.queue.close)
        self._folder.cleanup()

    async def _page(self, _: Request) -> Response:
        return Response((PAGE / "index.html").read_bytes(), media_type="text/html")

    async def _open_tab(self, _: Request) -> Response:
        if len(self.tabs) >= self.limits.tabs:
            raise TooMuch(f"{self.limits.tabs} tabs are open already; close one")
        name = secrets.token_urlsafe(18)
        loop = asyncio.get_running_loop()
        self.tabs[name] = Tab(name, self.model, self.queue, Path(self._folder.name) / name, self.limits, loop)
        self._close_unless_heard(self.tabs[name])
        config = self.model.config
        about = {"model": config.name, "side": config.sample_size, "sampler": config.sampler, "steps": config.steps, "words": self.words}
        return JSONResponse({"tab": name, **about, "samplers": DEFAULT_STEPS, "upload_bytes": self.limits.upload_bytes})

    def _of_tab(self, do: Callable[[Tab, Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def of_tab(request: Request) -> Response:
            tab = self.tabs.get(request.path_params["tab"])
            if tab is None:
                raise HTTPException(404, "this tab's scene is no longer there; reload the page")
            return await do(tab, request)

        return of_tab

    def _asked(self) -> dict[str, Callable[[Tab, Request], Awaitable[Response]]]:
        """What a tab can ask for, and what it must send along."""

        def answering(form: type[A], do: Callable[[Tab, A], dict | None]) -> Callable[[Tab, Request], Awaitable[Response]]:
            async def answer(tab: Tab, request: Request) -> Response:
                given = await checked(form, request, self.limits.json_bytes)
                try:
                    result = do(tab, given)
                except (RequestError, PictureError) as error:
                    raise StudioError(str(error)) from error
                doubts = [doubt for prompt in given.prompts() if (doubt := self.doubt(prompt))]
                if doubts:
                    tab.say(". ".join(doubts))
                return JSONResponse(tab.state() if result is None else result)

            return answer

        return {
            "plan": answering(asked.Sentence, lambda _, given: making.split(given)),
            "generate": answering(asked.Making, lambda tab, given: making.generate(self.model, tab, given)),
            "decompose": answering(asked.Decomposing, lambda tab, given: making.decompose(self.model, tab, given)),
            "open": answering(asked.Opening, making.open_files),
            "edit": answering(asked.Editing, lambda tab, given: tab.edit([edit.of() for edit in given.edits])),
            "look": answering(asked.Looks, lambda tab, given: tab.look([Look(**look.model_dump()) for look in given.looks])),
            **{
                name: answering(asked.Nothing, lambda tab, _, name=name: getattr(tab, name)())
                for name in ("undo", "redo", "cancel", "harmonize")
            },
        }

    async def _upload(self, tab: Tab, request: Request) -> Response:
        """One file's bytes; its name, which is only ever shown, comes percent-encoded in X-File-Name."""
        path, most = tab.place_for_upload(), self.limits.upload_bytes
        try:
            with path.open("xb") as file:
                async for part in parts(request, most, f"the file is larger than {most >> 20} MiB; make it smaller"):
                    file.write(part)
        except (StudioError, ClientDisconnect):
            path.unlink(missing_ok=True)
            raise
        called = PurePath(unquote(request.headers.get("x-file-name", "the file")).replace("\\", "/")).name[:200] or "the file"
        return JSONResponse({"upload": tab.uploaded("".join(c for c in called if c.isprintable()), path)})

    async def _layer(self, tab: Tab, request: Request) -> Response:
        document, number = tab.document, request.path_params["number"]
        if document is None or not number < len(document.looks):
            raise HTTPException(404, "there is no such layer")
        return png(await asyncio.to_thread(lambda: document.pixels[number]))

    async def _composite(self, tab: Tab, _: Request) -> Response:
        document = tab.document
        return png(None if document is None or document.image is None else document.image.composite_rgb)

    async def _download(self, tab: Tab, request: Request) -> Response:
        form = request.path_params["form"]
        if form not in NAMES or tab.document is None:
            raise HTTPException(404, "there is no such download")
        content = await asyncio.to_thread(download, tab.document, form, tab.folder)
        return Response(content, media_type=TYPES[form], headers={"Content-Disposition": f'attachment; filename="{NAMES[form]}"'})

    async def _events(self, tab: Tab, _: Request) -> Response:
        """The tab's state whenever it changes, and a comment now and then: when nobody hears it any more, the tab is closed."""

        async def stream() -> AsyncIterator[str]:
            tab.listeners += 1
            try:
                while True:
                    tab.changed.clear()
                    yield f"data: {json.dumps(tab.state())}\n\n"
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(BEAT):
                            await tab.changed.wait()
            finally:
                tab.listeners -= 1
                self._close_unless_heard(tab)

        return StreamingResponse(stream(), media_type="text/event-stream")

    def _close_unless_heard(self, tab: Tab) -> None:
        async def later() -> None:
            await asyncio.sleep(self.grace)
            if tab.listeners == 0 and self.tabs.pop(tab.name, None) is not None:
                tab.close()

        task = asyncio.get_running_loop().create_task(later())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
