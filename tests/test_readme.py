"""README's commands: each one's options exist, and the first scene's are run with the shipped model."""

from __future__ import annotations

import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import pytest
import tyro
from PIL import Image

import data.__main__
import train.__main__
from dreamlayer_jax import LayeredImage
from dreamlayer_jax.cli.main import COMMANDS
from sample.__main__ import MORE, main

ROOT = Path(__file__).resolve().parents[1]


def commands() -> list[list[str]]:
    """Every command of README's ```sh blocks, in words, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    split = [words for line in lines if (words := shlex.split(line, comments=True))]
    return [[words[0].removeprefix(".venv/bin/"), *words[1:]] for words in split]


def programs(name: str) -> list[list[str]]:
    """The arguments of every `python -m name …`."""
    return [words[3:] for words in commands() if words[:3] == ["python", "-m", name]]


class _Parsed(Exception):
    """A command line was understood; nothing is to be run."""


def _stop(*_: object, **__: object) -> None:
    raise _Parsed


@pytest.mark.parametrize("arguments", programs("sample"), ids=" ".join)
def test_sample_understands_it(arguments: list[str]) -> None:
    tyro.extras.subcommand_cli_from_dict({**COMMANDS, **MORE}, args=arguments)


@pytest.mark.parametrize("arguments", programs("train"), ids=" ".join)
def test_train_understands_it(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.__main__, "join", _stop)
    with pytest.raises(_Parsed):
        train.__main__.main(arguments)


@pytest.mark.parametrize("arguments", programs("data"), ids=" ".join)
def test_data_understands_it(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parse = tyro.extras.subcommand_cli_from_dict

    def parse_and_stop(*known: object, **options: object) -> None:
        parse(*known, **options)
        raise _Parsed

    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", parse_and_stop)
    with pytest.raises(_Parsed):
        data.__main__.main(arguments)


def test_every_other_command_is_one_that_there_is() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = set(setup["options.extras_require"])
    for words in commands():
        match words:
            case ["make", target]:
                assert target in targets
            case ["pip", "install", "-e", wanted]:
                assert set(wanted.removeprefix(".[").removesuffix("]").split(",")) <= extras
            case ["python", "-m", module, *_] if module.startswith("benchmarks."):
                assert list((ROOT / module.replace(".", "/")).parent.glob(f"{module.rpartition('.')[2]}*"))
            case ["python", "-m", "sample" | "train" | "data", *_] | ["tensorboard", *_]:
                pass
            case _:
                pytest.fail(f"nothing checks README's `{shlex.join(words)}`")


def test_the_first_scenes_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Sample, Edit, Take a picture apart and Open in an editor, as written but for the number of steps."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (80, 60), (120, 160, 90)).save("photo.png")
    ours = [words for words in programs("sample") if words[0] not in ("evaluate", "studio") and not {"--weights", "--mesh"} & set(words)]
    assert [words[0] for words in ours] == ["generate", "generate", "edit", "edit", "decompose", "export"]
    for words in ours:
        few = [] if words[0] == "export" else ["--steps", "2"]
        assert main([*words, *few]) == 0, shlex.join(words)
    scenes = {name: LayeredImage.load(tmp_path / "out" / name) for name in ("beach", "sentence", "moved", "other", "photo")}
    assert {name: [layer.prompt for layer in scene.layers] for name, scene in scenes.items()} == {
        "beach": ["a sandy beach", "a pineapple", "a dog"],
        "sentence": ["a sandy beach", "a dog", "a pineapple"],
        "moved": ["a sandy beach", "a pineapple", "a dog"],
        "other": ["a sandy beach", "a cat", "a balloon"],
        "photo": ["a beach", "a dog"],
    }
    assert scenes["photo"].blend.shape == (60, 80, 3)
    assert (tmp_path / "beach.psd").read_bytes().startswith(b"8BPS")
    listed = re.findall(r"^\| (`[\w.]+(?:`, `[\w.]+)*`)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for file in re.findall(r"`([\w.]+\.\w+)`", " ".join(listed)):
        assert (tmp_path / "out" / "beach" / file).is_file(), f"README's table of a scene's files names {file}"
