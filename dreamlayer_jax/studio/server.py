"""The studio's addresses: one page, and what it asks. A scene belongs to the tab that made it, whose name nobody can guess."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path, PurePath
from typing import TypeVar
from urllib.parse import unquote

import numpy as np
from PIL import Image
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dreamlayer_jax.editing.edits import Move
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.picture import PictureError
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.planner.rules import plan_by_rules
from dreamlayer_jax.prompts import PromptError
from dreamlayer_jax.request import DEFAULT_STEPS, RequestError, check_request
from dreamlayer_jax.studio import asked
from dreamlayer_jax.studio.document import Look
from dreamlayer_jax.studio.downloads import NAMES, TYPES, download
from dreamlayer_jax.studio.guard import Guard
from dreamlayer_jax.studio.limits import Limits, StudioError, TooMuch
from dreamlayer_jax.studio.opening import open_uploads, read_upload
from dreamlayer_jax.studio.tab import Tab
from dreamlayer_jax.studio.work import Queue, Work

PAGE = Path(__file__).parent / "page"
FAILURES = (StudioError, RequestError, PromptError, PictureError)
GRACE = 5.0
"""Seconds that a tab may be without its stream of events, as when it reloads a broken line, before it counts as closed."""
BEAT = 5.0
"""Seconds between signs of life on that stream."""

A = TypeVar("A", bound=asked.Asked)


class Studio:
    """The tabs of one server, its queue and its folder."""

    def __init__(
        self, model: DreamLayer, words: dict[str, list[str]] | None = None, limits: Limits | None = None, grace: float = GRACE
    ) -> None:
        """`words`: backgrounds and foregrounds that the model knows, which the page proposes."""
        self.model, self.words, self.limits, self.grace = model, words or {}, limits or Limits(), grace
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
        handlers = {StudioError: _refused, TooMuch: _refused, HTTPException: _http}
        guard = Middleware(Guard, token=token)
        app = Starlette(routes=routes, middleware=[guard], exception_handlers=handlers, lifespan=self._lifespan)
        app.state.studio = self
        return app

    def warm_up(self) -> None:
        """Has the first scene's and the first edit's programs compiled, or read from the cache, while nobody waits for the model."""

        def do(report: Callable[[float], None]) -> None:
            image = self.model.generate(background="a", foregrounds=["a", "a"], seed=0, on_progress=report)
            report(1.0)
            self.model.edit(image, [Move(1, 0.1, 0.1)], on_progress=report)

        self.queue.put_spare(Work("", "warming up", do, lambda _: None))

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
                given = _checked(form, await _body(request, self.limits.json_bytes))
                try:
                    result = do(tab, given)
                except (RequestError, PictureError) as error:
                    raise StudioError(str(error)) from error
                return JSONResponse(tab.state() if result is None else result)

            return answer

        return {
            "plan": answering(asked.Sentence, _plan),
            "generate": answering(asked.Making, self._generate),
            "decompose": answering(asked.Decomposing, self._decompose),
            "open": answering(asked.Opening, self._open),
            "edit": answering(asked.Editing, lambda tab, given: tab.edit([edit.of() for edit in given.edits])),
            "look": answering(asked.Looks, lambda tab, given: tab.look([Look(**look.model_dump()) for look in given.looks])),
            **{
                name: answering(asked.Nothing, lambda tab, _, name=name: getattr(tab, name)())
                for name in ("undo", "redo", "cancel", "harmonize")
            },
        }

    def _generate(self, tab: Tab, given: asked.Making) -> None:
        prompts = {"background": given.background, "foregrounds": given.foregrounds, "seed": given.seed}
        check_request(**prompts)
        tab.make("generating", lambda report: self.model.generate(**prompts, on_progress=report, **given.sampling()))

    def _decompose(self, tab: Tab, given: asked.Decomposing) -> None:
        prompts = {"background": given.background, "foregrounds": given.foregrounds, "seed": given.seed}
        check_request(**prompts)
        ((name, path),) = tab.take_uploads([given.upload])

        def take_apart(report: Callable[[float], None]) -> LayeredImage:
            with _forgotten([path]):
                picture = read_upload(name, path, self.limits)
            flat = np.asarray(Image.fromarray(picture).convert("RGB"))
            return self.model.decompose(flat, **prompts, on_progress=report, on_warning=tab.say, **given.sampling())

        tab.make("taking the picture apart", take_apart)

    def _open(self, tab: Tab, given: asked.Opening) -> None:
        files = tab.take_uploads(given.uploads)

        def opened(_: Callable[[float], None]) -> LayeredImage:
            with _forgotten([path for _, path in files]):
                return open_uploads(files, tab.folder, self.limits, tab.say)

        tab.make("opening", opened)

    async def _upload(self, tab: Tab, request: Request) -> Response:
        """One file's bytes; its name, which is only ever shown, comes percent-encoded in X-File-Name."""
        path, most = tab.place_for_upload(), self.limits.upload_bytes
        try:
            with path.open("xb") as file:
                async for part in _parts(request, most, f"the file is larger than {most >> 20} MiB; make it smaller"):
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
        return _png(await asyncio.to_thread(lambda: document.pixels[number]))

    async def _composite(self, tab: Tab, _: Request) -> Response:
        document = tab.document
        return _png(None if document is None or document.image is None else document.image.composite_rgb)

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


def _plan(_: Tab, given: asked.Sentence) -> dict:
    plan = plan_by_rules(given.sentence)
    return {"background": plan.background, "foregrounds": list(plan.foregrounds)}


@contextlib.contextmanager
def _forgotten(paths: list[Path]) -> Iterator[None]:
    """The files are deleted when they have been read, however that ends."""
    try:
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _png(pixels: np.ndarray | None) -> Response:
    if pixels is None:
        raise HTTPException(404, "it is not made yet")
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG", compress_level=1)
    return Response(packed.getvalue(), media_type="image/png")


async def _parts(request: Request, most: int, too_much: str) -> AsyncIterator[bytes]:
    """The body as it comes, whatever its header says of it, up to `most` bytes."""
    size = 0
    if int(request.headers.get("content-length", "0") or 0) > most:
        raise TooMuch(too_much)
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooMuch(too_much)
        yield part


async def _body(request: Request, most: int) -> bytes:
    return b"".join([part async for part in _parts(request, most, "the request is too long")])


def _checked(form: type[A], body: bytes) -> A:
    try:
        return form.model_validate_json(body or b"{}", strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise StudioError(f"{where}: {first['msg']}") from None


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 413 if isinstance(error, TooMuch) else 400)


async def _http(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code)
