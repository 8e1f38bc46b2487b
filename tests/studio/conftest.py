"""A studio of the pocket model in its own process, as a person starts it, and Debian's Chromium to look at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def started(*options: str) -> tuple[subprocess.Popen, str]:
    """The process and the address that it says it is at."""
    command = [sys.executable, "-m", "sample", "studio", "--port", "0", "--no-warm-up", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return process, found[0]
    raise AssertionError(f"the studio ended with {process.wait()}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Its path; without it the test is skipped, or fails where DREAMLAYER_CI says that it must be there."""
    program = shutil.which("chromium")
    if program is None:
        why = "needs Debian's chromium"
        pytest.fail(f"{why}, which .ci/run should install") if os.environ.get("DREAMLAYER_CI") else pytest.skip(why)
    return program


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def studio() -> Iterator[tuple[subprocess.Popen, str]]:
    process, address = started()
    yield process, address
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    process.stdout.close()
