"""`dreamlayer studio`: layers in the browser, on this machine."""

from __future__ import annotations

import dataclasses
import importlib.util
import ipaddress
import secrets
import socket

import tyro

from dreamlayer_jax.cli.options import MODEL, Model, outside_failures
from dreamlayer_jax.cli.program import program
from dreamlayer_jax.cli.terminal import say
from dreamlayer_jax.cli.vocabulary import doubt_about, read_vocabulary
from dreamlayer_jax.request import RequestError

NEEDED = ("starlette", "uvicorn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudioCommand:
    """A page where layers are made, dragged and harmonised again. Only this machine sees it, unless --host says otherwise."""

    host: str = "127.0.0.1"
    """The address to listen on. On any but loopback, the page asks for a token, which this command shows."""
    port: int = 8501
    """0 takes a free one."""
    warm_up: tyro.conf.FlagCreatePairsOff[bool] = True
    """Make a scene of the usual size that nobody sees, while the page is opened and words are written: the first real one comes sooner."""
    model: tyro.conf.OmitArgPrefixes[Model] = MODEL

    def run(self) -> None:
        """Serves until it is stopped by Ctrl-C."""
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise RequestError(f"the studio needs {' and '.join(missing)}: python -m pip install 'dreamlayer-jax[studio]'")
        listener = _listen(self.host, self.port)
        token = None if _is_loopback(self.host) else secrets.token_urlsafe(24)
        shown = f"[{self.host}]" if ":" in self.host else self.host
        address = f"http://{shown}:{listener.getsockname()[1]}/" + ("" if token is None else f"?token={token}")
        say(f"the studio is at {address} as soon as the model is loaded ({program()} studio; Ctrl-C stops it)")
        import uvicorn

        from dreamlayer_jax.studio.server import Studio
        from dreamlayer_jax.weights.where import find_model

        with listener:  # a browser that asks already waits for its answer
            model = self.model.load(())
            model.decoders()  # what cannot make layers is told now
            vocabulary = read_vocabulary(find_model(self.model.weights or "pocket"))
            words = {} if vocabulary is None else {key: sorted(getattr(vocabulary, key)) for key in ("backgrounds", "foregrounds")}
            studio = Studio(model, words, doubt=lambda prompt: doubt_about(prompt, vocabulary))
            if self.warm_up:
                studio.warm_up()
            config = uvicorn.Config(studio.app(token), log_level="warning", access_log=False, timeout_graceful_shutdown=1, lifespan="on")
            uvicorn.Server(config).run(sockets=[listener])

    failures = staticmethod(outside_failures)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, before the model is loaded. Raises `RequestError` if the address cannot be had."""
    if not 0 <= port <= 65535:
        raise RequestError(f"port is {port}; give 0 to 65535, 0 for a free one")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        raise RequestError(
            f"cannot listen on {host} port {port} ({error.strerror}); if another studio runs there, give --port 0"
        ) from error
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
