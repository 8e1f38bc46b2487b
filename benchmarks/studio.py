"""The studio, as a person meets it: seconds from its start to a moved and harmonised layer, and from a drop to the new composite.

    python -m benchmarks.studio                              # the figures of benchmarks/README.md
    python -m benchmarks.studio --screenshots docs/studio    # and the three pictures of docs/studio.md
    python -m benchmarks.studio --screenshots docs/studio --sentence "a penguin on a snowy field" --seed 3    # of another scene

Needs the extra `[test]` and Debian's chromium. The first of two starts fills the compilation cache and is not counted. The sentence and the
seed are those of the pictures; what is measured is always the same scene, at the model's default steps.
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
from playwright.sync_api import Page, TimeoutError, sync_playwright

SENTENCE = "a dog and a pineapple on a sandy beach"
SIZE = {"width": 1366, "height": 768}
PATIENCE = 120
"""Seconds that one step of the page may take before the measurement is given up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """Seconds, on this machine."""

    screenshots: Path | None = None
    """A folder for generated.webp, dragged.webp and decomposed.webp."""
    sentence: str = "a penguin and a pineapple on a sandy beach"
    """What the screenshots show: objects that the model draws well."""
    seed: int = 1
    """Of the screenshots' scene."""
    drag: tuple[int, int] = (60, 20)
    """Where the nearest layer is dragged for the screenshots, in pixels of the screen."""
    drops: int = 5
    cold: tyro.conf.FlagCreatePairsOff[bool] = False
    """Count the first start too, and make no second."""


def main(options: Measure) -> None:
    if not options.cold:
        say("a first start, which fills the compilation cache and is not counted")
        start(options, counted=False)
    say(f"the start that is counted (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
    start(options, counted=True)


def start(options: Measure, *, counted: bool) -> None:
    """One studio from its start, used as a person would."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "sample", "studio", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        address = next((found[0] for line in process.stdout if (found := re.search(r"http://\S+", line))), None)
        if address is None:
            raise SystemExit(f"the studio ended with {process.wait()} before it said where it is")
        say(f"its address is told after {time.monotonic() - begun:.1f} s")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(1000 * PATIENCE)
            page.goto(address)
            say(f"it is open after {time.monotonic() - begun:.1f} s")
            generate(page, SENTENCE)
            say(f"a scene is on screen after {time.monotonic() - begun:.1f} s")
            drops = [drop(page, (-90, 0))]
            say(f"start to a moved, harmonised layer: {time.monotonic() - begun:.1f} s; {cores(process.pid)}")
            if counted:
                for _ in range(options.drops):
                    drops.append(drop(page, (10, 0)))
                    say(f"drop {len(drops)}: {drops[-1]:.2f} s")
                median = statistics.median(drops[1:])
                say(f"drop to composite: the first {drops[0]:.2f} s, then {median:.2f} s (median of {options.drops})")
                if options.screenshots is not None:
                    take(page, options)
            browser.close()
    finally:
        process.terminate()
        process.wait(timeout=30)


def cores(pid: int) -> str:
    """How busy the machine was with other things: what the studio's threads together had of its cores, and how long they waited for one."""
    threads = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    ran, waited = (sum(int(thread[i]) for thread in threads) / 1e9 for i in (0, 1))
    return f"its threads ran {ran:.1f} s and waited {waited:.1f} s for a core that others had"


def generate(page: Page, sentence: str, seed: int = 0) -> None:
    """A scene by one sentence, as someone new to the page would make it."""
    before = shown(page)
    page.fill("#background", "")
    page.fill("#sentence", sentence)
    page.fill("#seed", str(seed))
    page.click("#go")
    settled(page, before)


def drop(page: Page, way: tuple[int, int]) -> float:
    """Drags the nearest layer, drops it, and gives the seconds until the new composite is on screen."""
    before = shown(page)
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


def shown(page: Page) -> str:
    """The version whose pictures are on screen."""
    return page.evaluate("document.body.dataset.shown")


def settled(page: Page, after: str, ready: str = "[data-ready='true']") -> None:
    """Waits for a newer version than `after`, harmonised and on screen. Ends the program, with what the page says, if it does not come."""
    try:
        page.wait_for_selector(f"body{ready}:not([data-shown='{after}'])")
    except TimeoutError:
        said = page.inner_text("#said") or page.inner_text("#gone") or "nothing"
        raise SystemExit(f"no newer version than {after} came in {PATIENCE} s; {shown(page)} is shown, and the page says: {said}") from None


def take(page: Page, options: Measure) -> None:
    """The three pictures of the documentation."""
    folder = options.screenshots
    folder.mkdir(parents=True, exist_ok=True)
    generate(page, options.sentence, options.seed)
    page.click("#stack li:first-child canvas")
    page.wait_for_timeout(400)  # until the composite has faded in
    shot(page, folder / "generated.webp")
    before = shown(page)
    hold(page, options.drag)
    shot(page, folder / "dragged.webp")
    page.mouse.up()
    settled(page, before)
    with page.expect_download() as download:
        page.click("#save-png")
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(download.value.path()) as layers:
        layers.extract("composite.png", temporary)
        page.set_input_files("#photo", Path(temporary) / "composite.png")
        before = shown(page)
        page.click("#go")
        settled(page, before, ready="")
    page.wait_for_selector("#harmonize:not(.idle)")
    page.wait_for_timeout(400)
    page.click("#stack li:first-child canvas")
    shot(page, folder / "decomposed.webp")


def shot(page: Page, file: Path) -> None:
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(file, quality=80, method=6)
    say(f"wrote {file}, {file.stat().st_size // 1000} kB")


def say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Measure, description=__doc__))
