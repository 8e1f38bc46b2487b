"""`python -m sample generate`: what it writes, and that it writes the same again."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamlayer_jax import DreamLayer, LayeredImage
from dreamlayer_jax.diffusion import denoise
from dreamlayer_jax.export import scene_folder

ROOT = Path(__file__).resolve().parents[2]


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_scene_is_written_and_the_sheet_named(generate, tmp_path: Path) -> None:
    done = generate("--seed", 3, "--guidance", 2, "--out", tmp_path / "beach", foregrounds=("a red apple", "a dog"))
    assert done.status == 0
    assert str(tmp_path / "beach" / "sheet.png") in done.out
    assert "compiling:   0%" in done.err  # the one bar for the whole
    assert "sampling: 100%" in done.err
    assert set(everything_in(tmp_path / "beach")) == {
        *("scene.json", "0_background.png", "1_a_red_apple.png", "2_a_dog.png", "global.png", "blend.png"),
        *("composite.png", "latents.safetensors", "context_1.png", "context_2.png", "sheet.png"),
    }
    scene = json.loads((tmp_path / "beach" / "scene.json").read_text())
    assert (scene["seed"], scene["model"]) == (3, "tiny")
    assert scene["settings"] == {"sampler": "ddim", "steps": 2, "guidance": 2.0, "harmonize": [600, 400], "given": []}
    loaded = LayeredImage.load(tmp_path / "beach")
    assert [layer.prompt for layer in loaded.layers] == ["a sandy beach", "a red apple", "a dog"]
    assert loaded.size == (16, 16)


def test_the_same_seed_gives_the_same_bytes_in_another_process_too(generate, tiny_folder: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("other", 8)):
        assert generate("--seed", seed, "--out", tmp_path / name).status == 0
    command = [sys.executable, "-m", "sample", "generate", "--background", "a sandy beach", "--foreground", "a dog", "--steps", "2"]
    done = subprocess.run(
        [*command, "--weights", str(tiny_folder), "--seed", "7", "--out", str(tmp_path / "again")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert everything_in(tmp_path / "again") == everything_in(tmp_path / "one")
    assert everything_in(tmp_path / "other")["global.png"] != everything_in(tmp_path / "one")["global.png"]


def test_a_count_is_one_folder_a_seed(generate, tmp_path: Path) -> None:
    """`--batch 1`, for equal bytes: a batch's sums may be taken in another order."""
    done = generate("--seed", 7, "--count", 2, "--batch", 1, "--out", tmp_path / "many")
    assert done.status == 0
    assert str(tmp_path / "many" / "seed_7" / "sheet.png") in done.out
    assert "sampling: 100%" in done.err
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == ["seed_7", "seed_8"]
    assert generate("--seed", 8, "--out", tmp_path / "one").status == 0
    assert everything_in(tmp_path / "many" / "seed_8") == everything_in(tmp_path / "one")


def test_a_count_is_a_batch_whose_scenes_are_as_they_would_be_alone(generate, tiny_folder: Path, tmp_path: Path) -> None:
    assert generate("--seed", 7, "--count", 2, "--out", tmp_path / "many").status == 0
    for seed in (7, 8):
        alone = DreamLayer.from_pretrained(tiny_folder).generate(background="a sandy beach", foregrounds=["a dog"], seed=seed, steps=2)
        among = LayeredImage.load(tmp_path / "many" / f"seed_{seed}")
        for ours, theirs in ((among.global_rgb, alone.global_rgb), (among.composite_rgb, alone.composite_rgb)):
            assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_few_steps_by_another_sampler_are_harmonised_with_the_foregrounds_in_place(generate, tmp_path: Path) -> None:
    """Karras's four timesteps, 999, 687, 146 and 0, have none between T_H 600 and T'_H 400."""
    options = ("--sampler", "dpm++-karras", "--steps", 4, "--guidance-interval", 900, 100, "--negative", "a cat")
    assert generate(*options, "--out", tmp_path / "few").status == 0
    image = LayeredImage.load(tmp_path / "few")
    asked = {"sampler": "dpm++-karras", "steps": 4, "guidance": 1.5, "guidance_interval": [900, 100], "negative": "a cat"}
    assert {name: image.settings[name] for name in asked} == asked
    assert image.kept.t.tolist() == [t for t in image.kept.t.tolist() if t < 400] != []
    assert (image.composite_rgb != image.global_rgb).any()


def test_more_foregrounds_than_the_model_was_trained_with(generate, tmp_path: Path) -> None:
    """Four, 16 words in all, where it knew two and 14 words; with all of their keys and with few."""
    four = ("the red apple", "a red dog", "the duck", "a cat")
    for share in (1, 0.25):
        done = generate("--max-foregrounds", 4, "--foreground-keys", share, "--out", tmp_path / str(share), foregrounds=four)
        assert done.status == 0, done.err
    full, few = (LayeredImage.load(tmp_path / name) for name in ("1", "0.25"))
    assert [layer.prompt for layer in full.foregrounds] == list(four)
    assert np.abs(full.kept.clean - few.kept.clean).max() > 1e-3


def test_the_library_makes_what_the_command_makes(generate, tiny_folder: Path, tmp_path: Path) -> None:
    assert generate("--seed", 7, "--out", tmp_path / "command").status == 0
    image = DreamLayer.from_pretrained(tiny_folder).generate(background="a sandy beach", foregrounds=["a dog"], seed=7, steps=2)
    commanded = LayeredImage.load(tmp_path / "command")
    np.testing.assert_array_equal(image.global_rgb, commanded.global_rgb)
    for ours, theirs in zip(image.layers, commanded.layers, strict=True):
        np.testing.assert_array_equal(ours.rgba_straight, theirs.rgba_straight)
    np.testing.assert_array_equal(image.composite_rgb, commanded.composite_rgb)
    assert image.settings == commanded.settings


def test_a_prompt_passes_at_most_seven_files_on_its_way_to_the_network(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From `DreamLayer.generate` to `predict`, both counted."""
    passed: list[str] = []

    def arrived(*_: object, **__: object) -> None:
        library = Path(denoise.__file__).parents[1]
        files = [Path(frame.filename) for frame in inspect.stack(0)]
        passed.extend(dict.fromkeys(str(file.relative_to(library)) for file in files if file.is_relative_to(library)))
        raise StopIteration

    monkeypatch.setattr(denoise, "predict", arrived)
    with pytest.raises(StopIteration):  # 5 steps: no other test has traced them
        DreamLayer.from_pretrained(tiny_folder).generate(background="a sandy beach", foregrounds=["a dog"], steps=5)
    assert {"pipeline.py", "diffusion/denoise.py"} <= set(passed)
    assert len({*passed, "diffusion/predict.py"}) <= 7, passed


def test_an_unknown_word_is_a_warning_with_near_names(generate, tiny_folder: Path, tmp_path: Path) -> None:
    done = generate("--out", tmp_path / "out", foregrounds=("a dogg",))
    assert done.status == 0
    warning = next(line for line in done.err.splitlines() if line.startswith("warning: "))
    assert "“dogg” (in “a dogg”); near names: dog" in warning
    assert f"python -m sample vocabulary --weights {tiny_folder}" in warning
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_known_words_are_no_warning(generate, tmp_path: Path) -> None:
    done = generate("--out", tmp_path / "out", background="The GREEN meadow", foregrounds=("a red apple",))
    assert done.status == 0
    assert "warning" not in done.err


def test_overwrite_replaces_an_earlier_scene(generate, tmp_path: Path) -> None:
    assert generate("--out", tmp_path / "out", foregrounds=("a dog", "a cat")).status == 0
    assert generate("--out", tmp_path / "out", "--overwrite").status == 0
    assert "2_a_cat.png" not in everything_in(tmp_path / "out")


@pytest.mark.parametrize("written", [0, 1])
def test_a_failure_while_overwriting_keeps_the_old_scene(generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """The disk fills up after `written` scenes of two."""
    assert generate("--out", tmp_path / "out").status == 0
    before = everything_in(tmp_path)
    write, calls = scene_folder.write_scene, []

    def full(image: LayeredImage, folder: Path, **options: object) -> None:
        calls.append(folder)
        if len(calls) > written:
            raise OSError(28, "No space left on device")
        write(image, folder, **options)

    monkeypatch.setattr(scene_folder, "write_scene", full)
    done = generate("--count", 2, "--out", tmp_path / "out", "--overwrite")
    assert done.status == 1
    assert "No space left" in done.err
    assert everything_in(tmp_path) == before


def test_stopping_writes_nothing(generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DreamLayer, "generate_batch", interrupted)
    done = generate("--out", tmp_path / "out")
    assert done.status == 130
    assert "nothing was written" in done.err
    assert list(tmp_path.iterdir()) == []
