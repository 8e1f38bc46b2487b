"""Command lines of options that there are, with values that people give them and others; nothing is sampled."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamlayer_jax.pipeline import DreamLayer
from sample.__main__ import main

VALUES = (
    "", " ", "a dog", "яблоко", "\udcff", "-1", "0", "1", "2", "3", "1.5", "nan", "inf", "1e38", "1e300", "4294967296", "1" + "0" * 22,
    "--", "-", "~", "~/x", ".", "..", "/", "/dev/null", "a.png", "a.psd", "a.ora", "out", "x" * 300, "1:a.png", "0:", ":", "1:0.1,0",
    "9:0,0", "1:nan,inf", "1:1e300", "1:-2", "1,2", "2,1", ",", "http://.", "https://u:p@h/v1", "http://localhost:1/v1", "nobody/nothing",
    "pocket", "psd", "ora", "png", "inversion", "given", "a dog and a cat on a beach", "\x1b[31m", "{", "%s", "\n",
)  # fmt: skip
OPTIONS = {
    "generate": "background foreground prompt planner-model out seed steps guidance height width no-harmonize t-h t-h-end given count "
    "overwrite format layer-decoder tokenizer trained",
    "edit": "out move resize flip replace remove order add t-h seed overwrite format",
    "decompose": "background foreground out method seed steps guidance overwrite format",
    "export": "out format shadow overwrite",
    "vocabulary": "weights",
    "nonsense": "help",
}


class ReachedError(Exception):
    """As far as these command lines go: the model would be loaded now."""


def test_commands(campaign: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def loads(*_: object, **__: object) -> None:
        raise ReachedError

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(DreamLayer, "from_pretrained", loads)

    def commands(chance: random.Random, folder: Path) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", str(folder))
        command = chance.choice(list(OPTIONS))
        arguments = [command]
        if command in ("generate", "decompose") and chance.random() < 0.8:
            arguments += ["--background", "a beach", "--foreground", "a dog", "--out", "out"]
        if command in ("edit", "decompose", "export"):
            arguments.append(chance.choice(VALUES))
        for _ in range(chance.randrange(4)):
            option, value = f"--{chance.choice(OPTIONS[command].split())}", chance.choice(VALUES)
            arguments += chance.choice(([option, value], [f"{option}={value}"], [option]))
        try:
            status = main(arguments)
        except SystemExit as stopped:
            status = stopped.code
        said = capsys.readouterr().err
        assert status in (0, 1, 2), arguments
        assert "Traceback" not in said, said
        assert status == 2 or "\x1b[31m" not in said, said  # of wrong usage the user's own words are shown

    campaign(0.06, commands, (ReachedError,))
