"""Time and memory of a whole scene at Stable Diffusion 1.5's size: background, two foregrounds, harmonised, written as PSD.

    python -m benchmarks.scene                     every row, whole
    python -m benchmarks.scene --most-steps 2      two steps of the long runs taken, the others reckoned at the second one's time

Random float32 weights; 512 × 512 pixels, four images in the layer batch, doubled where there is guidance. Each row is a fresh process: its
peak memory is the resident set's, over weights, compiling and everything else. PyTorch makes as many predictions of diffusers' UNet, keys
and values joined over the layers, and decodes four pictures by diffusers' autoencoder; it has no layer decoder, text tower or PSD to do.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import tyro

Library = Literal["jax", "torch", "torch bfloat16"]
ROWS: dict[str, tuple[Literal["ddim", "dpm++", "lcm"], int, float]] = {
    "DDIM": ("ddim", 50, 7.5),
    "DPM++": ("dpm++", 20, 7.5),
    "LCM": ("lcm", 4, 1.0),
}
"""Sampler, steps, guidance."""
LAYERS = 4


def predictions(sampler: str, steps: int) -> int:
    """Steps of a generation and of its harmonisation from T_H = 600."""
    from dreamlayer_jax.config import sd15
    from dreamlayer_jax.diffusion.steps import sampling_steps

    run = sampling_steps(sd15().schedule, steps, sampler)
    return len(run) + len(run.below(sd15().harmonize.t_h))


def ours(row: str, side: int, taken: int) -> dict[str, Any]:
    """The whole scene by this library, of `taken` steps; seconds of all but the generation's and harmonisation's steps, and of one step."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from transformers import CLIPTokenizer

    from dreamlayer_jax import DreamLayer
    from dreamlayer_jax.config import sd15
    from dreamlayer_jax.export.editor_file import write_editor_file
    from dreamlayer_jax.models.init import param_shapes
    from dreamlayer_jax.weights.where import find_model

    sampler, _, guidance = ROWS[row]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.02 * rng.standard_normal(leaf.shape, np.float32)), param_shapes(sd15()))
    model = DreamLayer(config=sd15(), params=params, tokenizer=CLIPTokenizer.from_pretrained(find_model("pocket") / "tokenizer"))
    done = []
    start = time.perf_counter()
    image = model.generate(
        background="a sandy beach",
        foregrounds=["a red apple", "a dog"],
        size=(side, side),
        sampler=sampler,
        steps=taken,
        guidance=guidance,
        on_step=lambda _: done.append(time.perf_counter()),
    )
    with tempfile.TemporaryDirectory() as folder:
        write_editor_file(image, Path(folder) / "scene.psd")
    whole, step = time.perf_counter() - start, min(np.diff(done))
    return {"step": step, "rest": whole - step * predictions(sampler, taken), "version": f"jax {jax.__version__}"}


def theirs(row: str, side: int, taken: int, half: bool) -> dict[str, Any]:
    """The same predictions, and the decoding, in PyTorch."""
    import torch
    from diffusers import AutoencoderKL

    from benchmarks.layered_step import torch_unet

    dtype = torch.bfloat16 if half else torch.float32
    sampler, _, guidance = ROWS[row]
    unet, latent = torch_unet().to(dtype), side // 8
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    ).to(dtype)
    scenes = 1 if guidance == 1 else 2
    z, prompt = torch.randn(scenes * LAYERS, 4, latent, latent, dtype=dtype), torch.randn(scenes * LAYERS, 77, 768, dtype=dtype)
    times = []
    with torch.no_grad():
        for _ in range(predictions(sampler, taken)):
            start = time.perf_counter()
            unet(z, 500, prompt)
            times.append(time.perf_counter() - start)
        start = time.perf_counter()
        for one in z[:LAYERS]:
            vae.decode(one[None])
    return {"step": min(times), "rest": time.perf_counter() - start, "version": f"torch {torch.__version__} {str(dtype)[6:]}"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneBenchmark:
    """A table of all rows, or one row as JSON."""

    side: int = 512
    most_steps: int | None = None
    """Steps that are taken of a run that has more, at least 2; the rest is reckoned."""
    rows: tuple[Literal["DDIM", "DPM++", "LCM"], ...] = ("LCM", "DPM++", "DDIM")
    libraries: tuple[Library, ...] = ("jax", "torch", "torch bfloat16")
    only: Library | None = None
    """This library's first row, in this process."""

    def run(self) -> None:
        if self.only is not None:
            print(json.dumps(self._measure(self.rows[0], self.only)))
            return
        print(
            "| scene | library | predictions | one prediction | the rest | whole scene | peak memory |\n|---|---|---|---|---|---|---|",
            flush=True,
        )
        for row in self.rows:
            for library in self.libraries:
                self._print(row, self._in_a_process(row, library))

    def _measure(self, row: str, library: Library) -> dict[str, Any]:
        taken = min(ROWS[row][1], self.most_steps or ROWS[row][1])
        found = ours(row, self.side, taken) if library == "jax" else theirs(row, self.side, taken, half="bfloat16" in library)
        return found | {"taken": taken, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}

    def _in_a_process(self, row: str, library: Library) -> dict[str, Any]:
        options = ["--side", str(self.side), "--rows", row, "--only", library]
        options += [] if self.most_steps is None else ["--most-steps", str(self.most_steps)]
        command = [sys.executable, "-m", "benchmarks.scene", *options]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])

    def _print(self, row: str, found: dict[str, Any]) -> None:
        sampler, steps, _ = ROWS[row]
        number = predictions(sampler, steps)
        whole = found["rest"] + number * found["step"]
        reckoned = "" if found["taken"] == steps else f" ({found['taken']} of {steps} steps taken)"
        figures = f"{found['step']:.1f} s | {found['rest']:.1f} s | {whole:.0f} s{reckoned} | {found['peak']:.1f} GiB"
        print(f"| {row} {steps} | {found['version']} | {number} | {figures} |", flush=True)


if __name__ == "__main__":
    tyro.cli(SceneBenchmark).run()
