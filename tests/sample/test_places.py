"""The commands on several devices: the same scene as on one, and one sentence for a mesh that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dreamlayer_jax import LayeredImage


def test_a_mesh_makes_the_scene_that_one_device_makes(generate, tmp_path: Path) -> None:
    """Scenes, layers and pictures to decode over four devices; layers round a ring. Two layers and the global one: one is padding."""
    assert generate("--seed", 3, "--out", tmp_path / "one").status == 0
    done = generate("--seed", 3, "--mesh", "data=2,layer=-1", "--exchange", "ring", "--out", tmp_path / "mesh")
    assert done.status == 0, done.err
    one, mesh = (LayeredImage.load(tmp_path / name) for name in ("one", "mesh"))
    np.testing.assert_allclose(mesh.kept.clean, one.kept.clean, atol=1e-4)
    pairs = [(a.rgba_straight, b.rgba_straight) for a, b in zip(mesh.layers, one.layers, strict=True)]
    for ours, theirs in [*pairs, (mesh.composite_rgb, one.composite_rgb)]:
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_half_precision_is_a_choice(generate, tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        assert generate("--seed", 3, "--dtype", dtype, "--out", tmp_path / dtype).status == 0
    exact, half = (LayeredImage.load(tmp_path / dtype).global_rgb.astype(float) for dtype in ("float32", "bfloat16"))
    assert 0 < np.abs(exact - half).mean() < 8


def test_a_mesh_that_cannot_be_gets_one_sentence(generate, tmp_path: Path) -> None:
    done = generate("--mesh", "data=2,layer=4", "--out", tmp_path / "none")
    assert done.status == 1
    assert done.err.strip().splitlines()[-1] == "error: the mesh 'data=2,layer=4' needs 8 devices, but there are only 4 cpu devices"
    assert not (tmp_path / "none").exists()
