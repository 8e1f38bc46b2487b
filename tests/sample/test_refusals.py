"""What `python -m sample generate` refuses: a status that is not 0, one paragraph on standard error, and nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

LONG = "a dog " * 8


def refused(outcome, folder: Path) -> str:
    """The message, after what every refusal has in common."""
    assert outcome.status not in (0, None)
    assert "Traceback" not in outcome.err
    assert "\n\n" not in outcome.err.strip()
    assert outcome.out == ""
    assert list(folder.iterdir()) == []
    return " ".join(outcome.err.split())


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"foregrounds": ()}, (), "no foreground was given; give at least one"),
        ({"foregrounds": ("a dog", "a cat", "a duck")}, (), "3 foregrounds were given; the model 'tiny' makes at most 2; to try more"),
        ({}, ("--foreground-keys", 0), "ask for: foreground_keys is 0.0; give a share over 0, at most 1"),
        (
            {},
            ("--foreground-keys", 0.5, "--share", "one-way"),
            "foreground_keys under 1 needs context_map and layer_shared, without one_way",
        ),
        ({"background": None}, (), "no background was given; give --background and --foreground, or --prompt"),
        ({}, ("--prompt", "a dog on a beach"), "both a sentence and layer prompts were given"),
        ({"background": None, "foregrounds": ()}, ("--prompt", "a dog and a cat"), "'a dog and a cat' does not say where it is"),
        ({"background": None, "foregrounds": ()}, ("--prompt", " "), "the sentence is empty"),
        ({}, ("--planner-url", "http://localhost/v1"), "a planner was given and nothing to split"),
        (
            {"background": None, "foregrounds": ()},
            ("--prompt", "a dog on a beach", "--planner-url", "http://localhost/v1"),
            "needs both --planner-url and --planner-model",
        ),
        (
            {"background": None, "foregrounds": ()},
            ("--prompt", "a dog on a beach", "--planner-url", "file:///etc/passwd", "--planner-model", "m"),
            "the planner's URL must be like https://host/v1; got 'file:///etc/passwd'",
        ),
        ({}, ("--format", "jpeg"), "--format"),
        ({"background": ""}, (), "the prompt of background is empty"),
        (
            {"background": "a \udcff beach"},
            (),
            "background is 'a \\udcff beach', which holds bytes that are no text in UTF-8",
        ),
        ({"foregrounds": ("a dog", " ")}, (), "the prompt of foreground 2 is empty"),
        ({"foregrounds": (LONG,)}, (), f"19 tokens together ('a sandy beach' 3, {LONG!r} 16); the global prompt holds 14"),
        ({}, ("--steps", 0), "steps is 0; give at least 1"),
        ({}, ("--steps", 1001), "the sampler ddim takes 1 to 1000 with this model"),
        ({}, ("--steps", "many"), "--steps"),
        ({}, ("--guidance", -1), "guidance is -1.0; give a number of at least 0"),
        ({}, ("--sampler", "lcm", "--steps", 51), "the sampler lcm takes 1 to 50"),
        ({}, ("--sampler", "lcm", "--steps", 1), "T_H is 600, but the last of 1 steps is at timestep 999: give that at least"),
        ({}, ("--sampler", "euler"), "--sampler"),
        ({}, ("--guidance-interval", 200, 800), "the guidance interval is 200, 800; give timesteps from >= to >= 0"),
        ({}, ("--negative", LONG * 2), "the global prompt holds 14"),
        ({}, ("--count", 2, "--batch", 0), "batch is 0; give at least 1"),
        ({}, ("--guidance", "nan"), "guidance is nan; give a number of at least 0"),
        ({}, ("--seed", -1), "seed is -1; give a whole number from 0"),
        ({}, ("--count", 0), "count is 0; give at least 1"),
        ({}, ("--count", 2, "--seed", 2**32 - 1), "with seed + count - 1 at most 4294967295"),
        ({}, ("--colour", "red"), "--colour"),
    ],
)
def test_what_cannot_be_made(generate, tmp_path: Path, changes: dict, arguments: tuple, message: str) -> None:
    assert message in refused(generate(*arguments, "--out", tmp_path / "out", **changes), tmp_path)


def test_a_folder_that_holds_something_is_left_alone(generate, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for arguments, message in (((), "is not empty"), (("--overwrite",), "holds more than an earlier scene (notes.txt)")):
        done = generate("--out", tmp_path / "out", *arguments)
        assert done.status == 1
        assert done.err.startswith("error: ")
        assert message in done.err
        assert [path.name for path in tmp_path.rglob("*")] == ["out", "notes.txt"]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def one_bit_flipped(path: Path) -> None:
    """In the middle of the tensors: still a whole safetensors file."""
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 1
    path.write_bytes(content)


def spoiled(path: Path) -> None:
    path.write_text("{")


DAMAGE: list[tuple[str, Callable[[Path], None]]] = [
    ("model.safetensors", Path.unlink),
    ("model.safetensors", cut_short),
    ("model.safetensors", one_bit_flipped),
    ("config.json", Path.unlink),
    ("config.json", spoiled),
    ("vocabulary.json", spoiled),
    ("manifest.json", spoiled),
    ("tokenizer", shutil.rmtree),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE, ids=[f"{name}-{damage.__name__}" for name, damage in DAMAGE])
def test_damaged_weights_are_named(
    generate, tiny_folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, name: str, damage: Callable[[Path], None]
) -> None:
    weights = tmp_path_factory.mktemp("damaged") / "model"
    shutil.copytree(tiny_folder, weights)
    damage(weights / name)
    message = refused(generate("--out", tmp_path / "out", weights=weights), tmp_path)
    assert message.startswith("error: ")
    assert name in message


def test_a_missing_model_is_named(generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refused(generate("--out", tmp_path / "out", weights=Path("nowhere/model")), tmp_path)
    assert "there is no model folder nowhere/model: give a model's folder or file, or one of pocket" in message
    assert "the Hugging Face hub's nowhere/model cannot be fetched" in message
