"""`python -m sample generate --prompt`: a sentence makes what the prompts in it make."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamlayer_jax import LayeredImage
from dreamlayer_jax.cli.split import split


def test_a_sentence_makes_what_its_prompts_make(generate, tmp_path: Path) -> None:
    sentence = ("--prompt", "a dog and a red apple on a sandy beach")
    done = generate(*sentence, "--out", tmp_path / "sentence", background=None, foregrounds=())
    assert done.status == 0
    assert done.out.splitlines()[:3] == ["background: a sandy beach", "foreground 1: a dog", "foreground 2: a red apple"]
    assert generate("--out", tmp_path / "prompts", foregrounds=("a dog", "a red apple")).status == 0
    for path in (tmp_path / "prompts").iterdir():
        assert path.read_bytes() == (tmp_path / "sentence" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(("format", "reads"), [("psd", b"8BPS"), ("ora", b"PK")])
def test_a_format_adds_its_file_and_overwriting_knows_it(generate, tmp_path: Path, format: str, reads: bytes) -> None:
    assert generate("--format", format, "--out", tmp_path / "out").status == 0
    assert (tmp_path / "out" / f"scene.{format}").read_bytes().startswith(reads)
    LayeredImage.load(tmp_path / "out")
    assert generate("--out", tmp_path / "out", "--overwrite").status == 0
    assert not (tmp_path / "out" / f"scene.{format}").exists()


def test_the_key_comes_from_the_environment_and_a_failing_planner_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    from dreamlayer_jax.planner import chat

    class Fails(chat.ChatPlanner):
        def __init__(self, **options: str) -> None:
            asked.append(options)

        def __call__(self, sentence: str) -> None:
            raise split_errors("the planner at host failed")

    split_errors = chat.ChatError
    monkeypatch.setattr(chat, "ChatPlanner", Fails)
    monkeypatch.setenv("DREAMLAYER_PLANNER_KEY", "secret")
    made = split("a dog on a beach", planner_url="http://host/v1", planner_model="m")
    said = capsys.readouterr()
    assert made == ("a beach", ("a dog",))
    assert asked == [{"url": "http://host/v1", "model": "m", "key": "secret"}]
    assert said.err == "warning: the planner at host failed; splitting the sentence by rules instead\n"
    assert "secret" not in said.out
