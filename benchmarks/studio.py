"""The studio, as a person meets it: seconds from its start to a moved and harmonised layer, and from a drop to the new composite.

    python -m benchmarks.studio                              # the figures of benchmarks/README.md
    python -m benchmarks.studio --screenshots docs/studio    # and the three pictures of docs/studio.md

Needs the extra `[test]` and Debian's chromium. The first of two starts fills the compilation cache and is not counted.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import tyro
from PIL import Image
from playwright.sync_api import Page, sync_playwright

SENTENCE = "a dog and a pineapple on a sandy beach"
SIZE = {"width": 1366, "height": 768}
PATIENCE = 400_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """Seconds, on this machine."""

    screenshots: Path | None = None
    """A folder for generated.webp, dragged.webp and decomposed.webp."""
    drops: int = 5
    cold: tyro.conf.FlagCreatePairsOff[bool] = False
    """Count the first start too, and make no second."""


def main(options: Measure) -> None:
    if not options.cold:
        start(options, counted=False)
    start(options, counted=True)


def start(options: Measure, *, counted: bool) -> None:
    """One studio from its start, used as a person would."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "sample", "studio", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        served = time.monotonic() - begun
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            page.fill("#sentence", SENTENCE)
            page.click("#go")
            settled(page, "0")
            generated = time.monotonic() - begun
            drops = [drop(page, (-90, 0))]
            first = time.monotonic() - begun
            drops += [drop(page, (10, 0)) for _ in range(options.drops)]
            if counted:
                print(f"the page is served after {served:.1f} s, a scene is on screen after {generated:.1f} s")
                print(f"start to a moved, harmonised layer: {first:.1f} s")
                print(
                    f"drop to composite: the first {drops[0]:.2f} s, then {statistics.median(drops[1:]):.2f} s (median of {options.drops})"
                )
                if options.screenshots is not None:
                    take(page, options.screenshots)
            browser.close()
    finally:
        process.terminate()
        process.wait(timeout=30)


def settled(page: Page, after: str) -> None:
    """Waits for a newer version than `after`, harmonised and on screen."""
    page.wait_for_selector(f"body[data-ready='true']:not([data-shown='{after}'])")


def drop(page: Page, way: tuple[int, int]) -> float:
    """Drags the nearest layer, drops it, and gives the seconds until the new composite is on screen."""
    before = page.evaluate("document.body.dataset.shown")
    hold(page, way)
    dropped = time.monotonic()
    page.mouse.up()
    settled(page, before)
    return time.monotonic() - dropped


def hold(page: Page, way: tuple[int, int]) -> None:
    """The nearest layer taken by its middle, dragged by screen pixels, and not let go."""
    page.click("#stack li:first-child canvas")
    box: Any = page.locator("#box").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + way[0], y + way[1], steps=5)


def take(page: Page, folder: Path) -> None:
    """The three pictures of the documentation."""
    folder.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(400)
    shot(page, folder / "generated.webp")
    before = page.evaluate("document.body.dataset.shown")
    hold(page, (120, 20))
    shot(page, folder / "dragged.webp")
    page.mouse.up()
    settled(page, before)
    with page.expect_download() as download:
        page.click("#save-png")
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(download.value.path()) as layers:
        layers.extract("composite.png", temporary)
        page.set_input_files("#photo", Path(temporary) / "composite.png")
        before = page.evaluate("document.body.dataset.shown")
        page.click("#go")
        page.wait_for_selector(f"body:not([data-shown='{before}'])")
    page.wait_for_selector("#harmonize:not(.idle)")
    page.wait_for_timeout(400)
    page.click("#stack li:first-child canvas")
    shot(page, folder / "decomposed.webp")


def shot(page: Page, file: Path) -> None:
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(file, quality=80, method=6)
    print(f"wrote {file}, {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(tyro.cli(Measure, description=__doc__))
