"""The studio's server without a browser or a network: limits, who may ask, tabs, the queue, cancelling."""

from __future__ import annotations

import dataclasses
import io
import threading
import time
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from dreamlayer_jax import Layer, LayeredImage
from dreamlayer_jax.editing.edits import Add, Flip, Move, Order, Remove, plan
from dreamlayer_jax.export.editor_file import write_editor_file
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.studio.document import Document, Look, as_shown
from dreamlayer_jax.studio.limits import Limits, StudioError, TooMuch
from dreamlayer_jax.studio.opening import open_uploads
from dreamlayer_jax.studio.server import Studio

HOME = "http://127.0.0.1:8501"
OURS = {"Origin": HOME}
PROMPTS = {"background": "a sandy beach", "foregrounds": ["a dog", "a cat"]}


def scene(*prompts: str) -> LayeredImage:
    """Opaque squares of different colours in different places."""
    layers = [np.full((16, 16, 4), 255, np.uint8)]
    for i in range(1, len(prompts)):
        layers.append(np.zeros((16, 16, 4), np.uint8))
        layers[-1][4:8, 2 + 4 * i : 5 + 4 * i] = (60 * i, 20, 0, 255)
    made = tuple(
        Layer(prompt=prompt, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=pixels)
        for i, (prompt, pixels) in enumerate(zip(prompts, layers, strict=True))
    )
    maps = np.zeros((len(prompts) - 1, 2, 2), np.float32)
    return LayeredImage(layers=made, global_rgb=layers[0][..., :3], context_maps=maps, seed=0, composite_rgb=layers[0][..., :3])


def edited(image: LayeredImage, edits: list, on_progress: Callable[[float], None] = lambda _: None) -> LayeredImage:
    """What a model gives, without one: layers moved, and the blend as the composite."""
    on_progress(0.5)
    layers = tuple(
        dataclasses.replace(image.layers[layer.source], rgba_straight=layer.placement.move(image.layers[layer.source].rgba_straight))
        for layer in plan(image, edits)
    )
    whole = dataclasses.replace(image, layers=layers, context_maps=np.zeros((len(layers) - 1, 2, 2), np.float32))
    return dataclasses.replace(whole, composite_rgb=whole.blend)


class HeldModel:
    """In a model's place: its work goes on only while `gate` is open, as long work would, saying its progress."""

    config = types.SimpleNamespace(name="held", sample_size=16, sampler="ddim", steps=2)

    def __init__(self) -> None:
        self.gate, self.begun, self.cut_short = threading.Event(), threading.Event(), threading.Event()

    def generate(self, *, background: str, foregrounds: list[str], seed: int, on_progress: Callable[[float], None]) -> LayeredImage:
        self.begun.set()
        try:
            while not self.gate.wait(0.005):
                on_progress(0.5)
        except Exception:
            self.cut_short.set()
            raise
        return scene(background, *foregrounds)

    def edit(self, image: LayeredImage, edits: list, on_progress: Callable[[float], None]) -> LayeredImage:
        return edited(image, edits, on_progress)


@pytest.fixture
def model() -> HeldModel:
    return HeldModel()


@pytest.fixture
def client(model: HeldModel) -> Iterator[TestClient]:
    limits = Limits(upload_bytes=10_000, uploads=2, waiting=1, tabs=3)
    with TestClient(Studio(model, limits=limits, grace=60).app(), base_url=HOME, headers=OURS) as opened:
        yield opened
        model.gate.set()


def tab(client: TestClient) -> str:
    return f"/api/tabs/{client.post('/api/tabs').json()['tab']}"


def until(client: TestClient, tab: str, ready: Callable[[dict], bool]) -> dict:
    """The tab's state once it is as awaited."""
    while not ready(state := client.app.state.studio.tabs[tab.rpartition("/")[2]].state()):
        time.sleep(0.005)
    return state


def harmonised(state: dict) -> bool:
    return state["busy"] is None and state["scene"] is not None and state["scene"]["composite"]


def test_a_layer_moves_at_once_and_undo_brings_it_back(client: TestClient, model: HeldModel) -> None:
    model.gate.set()
    mine = tab(client)
    assert client.post(f"{mine}/generate", json=PROMPTS).status_code == 200
    until(client, mine, harmonised)
    before = client.get(f"{mine}/layers/1.png").content
    assert client.post(f"{mine}/edit", json={"edits": [{"edit": "move", "layer": 1, "dx": 0.25, "dy": 0}]}).status_code == 200
    moved = np.asarray(Image.open(io.BytesIO(client.get(f"{mine}/layers/1.png").content)))
    assert np.array_equal(moved, np.roll(scene(*PROMPTS["foregrounds"], "").layers[1].rgba_straight, 4, axis=1))
    until(client, mine, harmonised)
    assert client.post(f"{mine}/undo").json()["redo"]
    assert client.get(f"{mine}/layers/1.png").content == before
    assert client.post(f"{mine}/undo").json() == {"error": "there is nothing to undo"}
    saved = zipfile.ZipFile(io.BytesIO(client.get(f"{mine}/download/png").content))
    assert saved.namelist() == ["0_a_sandy_beach.png", "1_a_dog.png", "2_a_cat.png", "blend.png", "composite.png"]


def test_tabs_do_not_see_each_other_and_only_so_many_open(client: TestClient, model: HeldModel) -> None:
    model.gate.set()
    one, two, _ = tab(client), tab(client), tab(client)
    client.post(f"{one}/generate", json=PROMPTS)
    until(client, one, harmonised)
    assert client.get(f"{two}/layers/0.png").status_code == 404
    assert client.post(f"{two}/edit", json={"edits": [{"edit": "flip", "layer": 1}]}).status_code == 400
    assert client.get("/api/tabs/guessed/layers/0.png").status_code == 404
    refused = client.post("/api/tabs")
    assert (refused.status_code, refused.json()["error"]) == (413, "3 tabs are open already; close one")


def test_the_queue_is_bounded_and_what_is_cancelled_ends(client: TestClient, model: HeldModel) -> None:
    first, second, third = tab(client), tab(client), tab(client)
    client.post(f"{first}/generate", json=PROMPTS)
    assert model.begun.wait(10)
    assert client.post(f"{second}/generate", json=PROMPTS).json()["busy"]["before"] == 1
    refused = client.post(f"{third}/generate", json=PROMPTS)
    assert refused.status_code == 413
    assert "1 pieces of work wait already" in refused.json()["error"]
    assert client.post(f"{second}/cancel").json()["busy"] is None
    assert client.post(f"{third}/generate", json=PROMPTS).status_code == 200, "its place is free again"
    client.post(f"{first}/cancel")
    assert model.cut_short.wait(10), "the running work noticed"


def test_warming_up_gives_way_to_what_is_asked(model: HeldModel) -> None:
    studio = Studio(model)
    studio.warm_up()
    assert model.begun.wait(10)
    with TestClient(studio.app(), base_url=HOME, headers=OURS) as client:
        mine = tab(client)
        assert client.post(f"{mine}/generate", json=PROMPTS).json()["busy"]["before"] == 0
        assert model.cut_short.wait(10), "with its gate still shut"
        model.gate.set()
        assert [layer["name"] for layer in until(client, mine, harmonised)["scene"]["layers"]] == ["a sandy beach", "a dog", "a cat"]


def test_words_that_the_model_never_saw_are_told(model: HeldModel) -> None:
    model.gate.set()
    studio = Studio(model, doubt=lambda prompt: f"“{prompt}” is new" if "cat" in prompt else None)
    with TestClient(studio.app(), base_url=HOME, headers=OURS) as client:
        mine = tab(client)
        client.post(f"{mine}/generate", json=PROMPTS)
        assert until(client, mine, harmonised)["message"] == "“a cat” is new"
        client.post(f"{mine}/edit", json={"edits": [{"edit": "flip", "layer": 1}]})
        assert until(client, mine, harmonised)["message"] == "", "a flip asks for no words"


def test_the_work_of_a_closed_tab_is_cancelled_and_its_files_go(model: HeldModel) -> None:
    studio = Studio(model, grace=1)
    with TestClient(studio.app(), base_url=HOME, headers=OURS) as client:
        mine = tab(client)
        folder = next(iter(studio.tabs.values())).folder
        client.post(f"{mine}/generate", json=PROMPTS)  # its stream of events is never listened to
        assert model.cut_short.wait(20)
        while studio.tabs or folder.exists():
            time.sleep(0.005)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:8501"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": HOME}, 200),
        ({"Host": "localhost:8501", "Origin": "http://localhost:8501"}, 200),
    ],
)
def test_only_its_own_page_may_ask(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.post("/api/tabs", headers=headers).status_code == status


def test_what_does_not_say_where_it_is_from_changes_nothing(model: HeldModel) -> None:
    with TestClient(Studio(model).app(), base_url=HOME) as client:
        assert client.post("/api/tabs").status_code == 403
        assert "frame-ancestors 'none'" in client.get("/").headers["content-security-policy"]


def test_elsewhere_than_on_loopback_every_request_needs_the_token(model: HeldModel) -> None:
    there = "http://studio.lan:8501"
    with TestClient(Studio(model).app("secret"), base_url=there, headers={"Origin": there}) as client:
        for path in ("/", "/?token=wrong", "/page/studio.js", "/api/tabs/x/events?token=secret"):
            assert client.get(path).status_code == 401
        assert client.post("/api/tabs").status_code == 401
        assert client.get("/?token=secret").status_code == 200
        assert client.get("/").status_code == 200, "the cookie says it from now on"
        assert client.post("/api/tabs").status_code == 200
        assert client.post("/api/tabs", headers={"Origin": "http://evil.example"}).status_code == 403


def test_uploads_are_limited_and_never_named_by_the_client(client: TestClient) -> None:
    mine = tab(client)
    folder = next(iter(client.app.state.studio.tabs.values())).folder
    assert client.post(f"{mine}/uploads", content=b"x" * 10_001).status_code == 413
    assert client.post(f"{mine}/uploads", content=iter([b"x" * 9_000] * 2)).status_code == 413, "without a length, too"
    assert list(folder.iterdir()) == []
    names = {"X-File-Name": "..%2F..%2Fetc%2Fpasswd"}
    given = [client.post(f"{mine}/uploads", content=b"no picture", headers=names).json()["upload"] for _ in range(2)]
    assert client.post(f"{mine}/uploads", content=b"x").status_code == 413
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"upload-{number}" for number in given)
    assert client.post(f"{mine}/open", json={"uploads": [99]}).status_code == 400
    client.post(f"{mine}/open", json={"uploads": [given[0]]})
    message = until(client, mine, lambda state: state["message"])["message"]
    assert message.startswith("passwd is no picture of a known format")


@pytest.mark.parametrize(
    ("what", "body", "named"),
    [
        ("generate", {**PROMPTS, "seed": -1}, "seed"),
        ("generate", {**PROMPTS, "path": "/etc/passwd"}, "path"),
        ("generate", {**PROMPTS, "steps": "many"}, "steps"),
        ("generate", {"background": "", "foregrounds": ["a dog"]}, "background is empty"),
        ("edit", {"edits": [{"edit": "explode", "layer": 1}]}, "edits.0"),
        ("plan", {"sentence": "a dog"}, "does not say where"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_words(client: TestClient, what: str, body: dict, named: str) -> None:
    answer = client.post(f"{tab(client)}/{what}", json=body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]


def test_edits_keep_their_layers_through_removal_and_order() -> None:
    document = Document.of(scene("bg", "a", "b", "c"))
    document = document.with_edits([Remove(1)])  # b, c
    document = document.with_edits([Order((2, 1))])  # c, b
    document = document.with_edits([Move(2, dx=-0.25)])
    assert [layer.prompt for layer in document.planned] == ["bg", "c", "b"]
    assert [look.name for look in document.looks] == ["bg", "c", "b"]
    assert np.array_equal(document.pixels[2], np.roll(scene("bg", "a", "b", "c").layers[2].rgba_straight, -4, axis=1))
    back = document.with_edits([Move(2, dx=0.25)])
    assert np.array_equal(back.pixels[2], scene("bg", "a", "b", "c").layers[2].rgba_straight)
    with pytest.raises(RequestError, match="the foregrounds are 1 to 2"):
        document.with_edits([Flip(3)])
    with pytest.raises(RequestError, match="still being made"):
        document.with_edits([Add("a cat")]).with_edits([Flip(1)])


def test_hidden_and_faint_layers_are_harmonised_and_saved_as_shown() -> None:
    document = Document.of(scene("bg", "a", "b"))
    looks = (Look(name="bg"), Look(name="a", visible=False), Look(name="B", opacity=0.5))
    shown = as_shown(document.image, looks, named=True)
    assert [layer.prompt for layer in shown.layers] == ["bg", "B"]
    assert shown.layers[1].rgba_straight[..., 3].max() == 128
    done = dataclasses.replace(document, looks=looks, image=None).harmonized(edited)
    assert len(done.image.layers) == 3, "nothing of the scene is lost"
    assert np.array_equal(done.image.composite_rgb, shown.blend)


def opened(tmp_path: Path, *files: tuple[str, bytes], limits: Limits | None = None) -> tuple[LayeredImage, list[str]]:
    kept, said = [], []
    for i, (name, content) in enumerate(files):
        path = tmp_path / f"upload-{i}"
        path.write_bytes(content)
        kept.append((name, path))
    return open_uploads(kept, tmp_path, limits or Limits(), said.append), said


@pytest.mark.parametrize("form", ["psd", "ora"])
def test_a_saved_file_opens_again_with_its_layers(tmp_path: Path, form: str) -> None:
    image = scene("a beach", "a dog", "a cat")
    file = write_editor_file(dataclasses.replace(image, composite_rgb=image.blend // 2), tmp_path / f"saved.{form}", shadow=True)
    again, said = opened(tmp_path, ("saved", file.read_bytes()))
    assert [layer.prompt for layer in again.layers] == ["a beach", "a dog", "a cat"]
    for old, new in zip(image.layers, again.layers, strict=True):
        assert np.array_equal(old.rgba_straight, new.rgba_straight)
    assert len(said) == 2, "the shadow and the light are told to be left out"


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def png(pixels: np.ndarray) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def test_a_scene_zip_and_cut_outs_open(tmp_path: Path) -> None:
    image = scene("a beach", "a dog")
    image.save(tmp_path / "saved")
    files = {f"saved/{file.name}": file.read_bytes() for file in (tmp_path / "saved").iterdir()}
    again, _ = opened(tmp_path, ("scene.zip", zipped({**files, "../../outside.png": b"", "saved/deeper/x.png": b""})))
    assert np.array_equal(again.layers[1].rgba_straight, image.layers[1].rgba_straight)
    assert not (tmp_path.parent.parent / "outside.png").exists()
    dog = png(image.layers[1].rgba_straight[:8, :8])
    cut_outs, _ = opened(tmp_path, ("beach.png", png(image.layers[0].rgba_straight)), ("my_dog.png", dog))
    assert [layer.prompt for layer in cut_outs.layers] == ["beach", "my dog"]
    assert cut_outs.size == (16, 16)


@pytest.mark.parametrize(
    ("files", "limits", "error", "match"),
    [
        ([], None, StudioError, "no file was given"),
        ([("a.zip", b"PK\x03\x04 cut short")], None, StudioError, "a.zip is a damaged zip"),
        ([("a.zip", zipped({"x": b""}))], None, StudioError, "holds 0 files scene.json"),
        ([("a.zip", zipped({"scene.json": b"{}"}))], None, StudioError, "scene.json"),
        ([("a.zip", zipped({str(i): b"" for i in range(4)}))], Limits(members=3), TooMuch, "holds 4 files"),
        ([("a.zip", zipped({"x": bytes(2 << 20)}))], Limits(unpacked_bytes=1 << 20), TooMuch, "more than 1 MiB unpacked"),
        ([("a.psd", b"8BPS cut short")], None, StudioError, "the PSD cannot be read"),
        ([("a.ora", zipped({"stack.xml": b'<!DOCTYPE x [<!ENTITY a "b">]><image/>'}))], None, StudioError, "declares entities"),
        ([("a.ora", zipped({"stack.xml": b'<image w="9999" h="9"><layer src="../x"/></image>'}))], None, TooMuch, "9999x9 pixels"),
        ([("a.ora", zipped({"stack.xml": b'<image w="9" h="9"><layer src="/etc/passwd"/></image>'}))], None, StudioError, "/etc/passwd"),
        ([("a.png", png(np.zeros((9, 9, 4), np.uint8)))], Limits(side=8), TooMuch, "9x9 pixels"),
        ([("a.png", png(np.full((9, 9, 3), 9, np.uint8)))], None, StudioError, "take it apart instead"),
    ],
)
def test_what_cannot_be_opened_is_told(tmp_path: Path, files: list, limits: Limits | None, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        opened(tmp_path, *files, limits=limits)
    assert {path.name for path in tmp_path.iterdir()} <= {"upload-0"}
