"""The studio in a real browser, with the pocket model and few steps."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from psd_tools import PSDImage

STEPS = 2
LONG = 120_000


@pytest.fixture
def page(browser, studio: tuple[subprocess.Popen, str]) -> Iterator:
    """A tab of its own, whose scripts must raise nothing."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    opened = context.new_page()
    opened.set_default_timeout(LONG)
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(studio[1])
    opened.wait_for_selector("#sampler option", state="attached")
    yield opened
    context.close()
    assert errors == []


def fill(page, background: str, *foregrounds: str, seed: int = 0) -> None:
    page.fill("#background", background)
    for i, prompt in enumerate(foregrounds):
        page.fill(f"#foregrounds input:nth-child({i + 1})", prompt)
    page.fill("#seed", str(seed))
    page.fill("#steps", str(STEPS))


def settled(page, after: int) -> int:
    """Waits until a newer state than `after` is harmonised and shown; gives its version. By selectors alone: the page forbids `eval`."""
    page.wait_for_selector(f"body[data-ready='true']:not([data-shown='{after}'])")
    return version(page)


def version(page) -> int:
    return int(page.evaluate("document.body.dataset.shown"))


def pixels(page, canvas: str) -> np.ndarray:
    script = f"[...(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data)(document.getElementById('{canvas}'))]"
    return np.array(page.evaluate(script), np.uint8).reshape(-1, 4)


def generated(page, seed: int = 0) -> int:
    fill(page, "a sandy beach", "a red apple", "a dog", seed=seed)
    page.click("#go")
    return settled(page, 0)


def test_a_dragged_layer_is_blended_at_once_harmonised_undone_and_saved(page, tmp_path: Path) -> None:
    first = generated(page)
    blend, composite = pixels(page, "blend"), pixels(page, "composite")
    page.click("#stack li[data-number='2'] canvas")
    box = page.locator("#box").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 80, y, steps=3)
    assert not np.array_equal(pixels(page, "blend"), blend), "the blend follows the pointer before any answer"
    page.mouse.up()
    moved = settled(page, first)
    after = pixels(page, "composite")
    assert not np.array_equal(after, composite)

    with page.expect_download() as download:
        page.click("#save-psd")
    download.value.save_as(tmp_path / "scene.psd")
    document = PSDImage.open(tmp_path / "scene.psd")
    assert [layer.name for layer in document][:3] == ["a sandy beach", "a red apple", "a dog"]
    assert np.array_equal(np.asarray(document.topil().convert("RGB")).reshape(-1, 3), after[:, :3]), "it shows what the page shows"

    page.keyboard.press("Control+z")
    undone = settled(page, moved)
    assert np.array_equal(pixels(page, "composite"), composite)
    page.keyboard.press("Control+a")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=3)
    page.mouse.up()
    again = settled(page, undone)
    assert page.locator("#box").bounding_box()["x"] > box["x"] + 30, "though all of the page is selected, the layer is what is dragged"
    page.keyboard.press("Control+z")
    undone = settled(page, again)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    nudged = settled(page, undone)
    page.focus("#stack li[data-number='1'] .eye")
    assert page.get_attribute("#stack li[aria-current='true']", "data-number") == "1", "the keyboard chooses a layer by going to it"
    assert page.get_attribute("#composite", "aria-label") == "Harmonised picture: a dog, before a red apple, before a sandy beach"
    page.keyboard.press("Delete")
    settled(page, nudged)
    assert page.locator("#stack li").count() == 2


def test_a_picture_is_taken_apart_and_what_is_none_is_refused(page, tmp_path: Path) -> None:
    bad = tmp_path / "holiday.png"
    bad.write_text("no picture")
    large = tmp_path / "large.png"
    large.touch()
    os.truncate(large, (64 << 20) + 1)
    page.set_input_files("#files", large)
    page.get_by_text("large.png is larger than 64 MiB").wait_for()
    fill(page, "a green meadow", "a dog")
    page.set_input_files("#photo", bad)
    page.click("#go")
    page.get_by_text("holiday.png is no picture of a known format").wait_for()
    assert page.locator("#stack li").count() == 0

    good = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(good).save(tmp_path / "meadow.png")
    page.set_input_files("#photo", tmp_path / "meadow.png")
    page.click("#go")
    page.wait_for_selector("#stack li[data-number='1']")
    assert page.evaluate("[document.getElementById('blend').width, document.getElementById('blend').height]") == [64, 48]
    with page.expect_download() as download:
        page.click("#save-scene")
    assert "scene/scene.json" in zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).namelist()


def test_two_tabs_do_not_mix_and_a_stopped_server_is_told(page, browser, studio: tuple[subprocess.Popen, str]) -> None:
    other = browser.new_page()
    other.goto(studio[1])
    other.wait_for_selector("#sampler option", state="attached")
    generated(page, seed=1)
    mine = pixels(page, "composite")
    assert other.locator("#stack li").count() == 0
    fill(other, "a green meadow", "a duck")
    other.click("#go")
    settled(other, 0)
    assert other.locator("#stack li").count() == 2
    assert page.locator("#stack li").count() == 3
    assert np.array_equal(pixels(page, "composite"), mine)
    studio[0].kill()
    for one in (page, other):
        one.wait_for_selector("#gone:not([hidden])")
        assert "stopped" in one.inner_text("#gone")
        assert one.evaluate("document.querySelector('main').inert"), "nothing can be asked any more"
    other.close()
