"""Time and memory of one guided denoising step of the layer batch at Stable Diffusion 1.5's size, next to PyTorch's for the same algorithm.

python -m benchmarks.layered_step --sides 256 512

Random float32 weights; four images in the layer batch (k + 1 = 4), doubled for guidance. Each row is a fresh process: its peak memory is
the resident set's, over weights, compiling and steps. PyTorch runs diffusers' UNet with keys and values joined over the layers in the up
blocks' self-attention, through scaled_dot_product_attention; ours also makes the context maps.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

LAYERS = 4
TOKENS = 77


def jax_step(side: int) -> tuple[Callable[[], Any], str]:
    """Our step, weights drawn."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from dreamlayer_jax.config import sd15
    from dreamlayer_jax.diffusion.denoise import denoise
    from dreamlayer_jax.diffusion.guidance import Guidance
    from dreamlayer_jax.diffusion.steps import sampling_steps
    from dreamlayer_jax.layer_axis import LayerContext, roles
    from dreamlayer_jax.models.init import param_shapes

    config, rng = sd15(), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape, np.float32) * 0.02), param_shapes(config)["unet"])
    latent = side // config.vae.downscale
    z = jnp.asarray(rng.standard_normal((LAYERS, 1, latent, latent, 4), np.float32))
    words = np.zeros((LAYERS, 2, TOKENS), bool)
    words[:-1, :, 1:4] = True
    prompt = jnp.asarray(rng.standard_normal((LAYERS, 2, TOKENS, config.text.hidden_size), np.float32))
    layers = LayerContext(role=roles(LAYERS), valid=None, prompt=prompt, own=jnp.asarray(words), span=jnp.asarray(words))
    steps, guidance = sampling_steps(config.schedule, 50)[:1], Guidance(weight=config.guidance)
    return lambda: jax.block_until_ready(denoise(config, params, z, layers, steps, guidance)), f"jax {jax.__version__}"


def torch_unet() -> Any:
    """diffusers' UNet of Stable Diffusion 1.5, its up blocks' self-attention joined over the layers, random weights."""
    import torch
    from diffusers import UNet2DConditionModel

    class JoinedKeys:
        """Self-attention whose keys and values are all layers'; the batch is (guidance, layer)."""

        def __call__(self, attention: Any, hidden: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            batch, tokens, width = hidden.shape
            split = (batch, tokens, attention.heads, width // attention.heads)
            q, k, v = (project(hidden).view(split).transpose(1, 2) for project in (attention.to_q, attention.to_k, attention.to_v))

            def joined(x: torch.Tensor) -> torch.Tensor:
                heads, depth = x.shape[1], x.shape[3]
                x = (
                    x.view(batch // LAYERS, LAYERS, heads, tokens, depth)
                    .transpose(1, 2)
                    .reshape(batch // LAYERS, heads, LAYERS * tokens, depth)
                )
                return x.repeat_interleave(LAYERS, dim=0)

            out = torch.nn.functional.scaled_dot_product_attention(q, joined(k), joined(v))
            return attention.to_out[0](out.transpose(1, 2).reshape(batch, tokens, width))

    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8).eval()
    unet.set_attn_processor(
        {name: JoinedKeys() if name.startswith("up_blocks") and ".attn1." in name else own for name, own in unet.attn_processors.items()}
    )
    return unet


def torch_step(side: int) -> tuple[Callable[[], Any], str]:
    """The same algorithm in PyTorch."""
    import torch
    from diffusers import DDIMScheduler

    unet = torch_unet()
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    scheduler.set_timesteps(50)
    z, prompt = torch.randn(LAYERS, 4, side // 8, side // 8), torch.randn(2 * LAYERS, TOKENS, 768)
    t = scheduler.timesteps[0]

    @torch.no_grad()
    def step() -> torch.Tensor:
        empty, prompted = unet(torch.cat([z, z]), t, prompt).sample.chunk(2)
        return scheduler.step(empty + 7.5 * (prompted - empty), t, z).prev_sample

    return step, f"torch {torch.__version__}"


def measure(library: str, side: int, repeats: int) -> dict[str, Any]:
    """One row, in this process."""
    step, version = {"jax": jax_step, "torch": torch_step}[library](side)
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"side": side, "library": version, "first_s": first, "step_s": min(times), "peak_gib": peak}


def main() -> None:
    """Runs every row in a process of its own and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="picture sides in pixels, multiples of 64")
    parser.add_argument("--libraries", nargs="+", choices=("jax", "torch"), default=["jax", "torch"])
    parser.add_argument("--repeats", type=int, default=2, help="steps after the first; the fastest counts")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(arguments.libraries[0], arguments.sides[0], arguments.repeats)))
        return
    print("| side | library | first step, compiling included | step | peak memory |\n|---|---|---|---|---|", flush=True)
    for side in arguments.sides:
        for library in arguments.libraries:
            command = [
                sys.executable,
                "-m",
                "benchmarks.layered_step",
                "--row",
                "--sides",
                side,
                "--libraries",
                library,
                "--repeats",
                arguments.repeats,
            ]
            done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
            row = json.loads(done.stdout.splitlines()[-1])
            print("| {side} | {library} | {first_s:.1f} s | {step_s:.1f} s | {peak_gib:.1f} GiB |".format(**row), flush=True)


if __name__ == "__main__":
    main()
