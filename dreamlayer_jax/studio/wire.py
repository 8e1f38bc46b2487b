"""What goes over the line: bodies, read within bounds and checked, and what answers them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import TypeVar

import numpy as np
from PIL import Image
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dreamlayer_jax.studio.asked import Asked
from dreamlayer_jax.studio.limits import StudioError, TooMuch

A = TypeVar("A", bound=Asked)


async def parts(request: Request, most: int, too_much: str) -> AsyncIterator[bytes]:
    """The body as it comes, whatever its header says of it. Raises `TooMuch`, saying `too_much`, beyond `most` bytes."""
    size = 0
    if int(request.headers.get("content-length", "0") or 0) > most:
        raise TooMuch(too_much)
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooMuch(too_much)
        yield part


async def checked(form: type[A], request: Request, most: int) -> A:
    """The body as what it should be. Raises `StudioError` if it is not, `TooMuch` beyond `most` bytes."""
    body = b"".join([part async for part in parts(request, most, "the request is too long")])
    try:
        return form.model_validate_json(body or b"{}", strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise StudioError(f"{where}: {first['msg']}") from None


def png(pixels: np.ndarray | None) -> Response:
    """Raises 404 where there are none."""
    if pixels is None:
        raise HTTPException(404, "it is not made yet")
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG", compress_level=1)
    return Response(packed.getvalue(), media_type="image/png")


async def refused(_: Request, error: Exception) -> Response:
    """A `StudioError`, for the person at the page."""
    return JSONResponse({"error": str(error)}, 413 if isinstance(error, TooMuch) else 400)


async def http_error(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code)
