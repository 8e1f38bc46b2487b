"""Image to layers against truth, each way of taking a picture apart, and the round trip of inversion.

    python -m benchmarks.decomposition --weights pocket --count 200 --methods replay
    python -m benchmarks.decomposition --weights pocket --count 60            all ways side by side

True global pictures of held-out scenes are taken apart with their own prompts. Every figure has a 95% bootstrap interval over scenes.

    alpha soft IoU     of each foreground against the true one (LayerD's protocol)
    RGB L1             of each foreground's colour, weighted by the true alpha
    recomposition      PSNR in dB, and SSIM, of Eq. 1 of the found layers against the picture
    round trip         PSNR of inversion then sampling at guidance 1 against the autoencoder's own reconstruction, dB
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm.auto import tqdm

from benchmarks.report import figures_of, write_report
from data.source import Example
from dreamlayer_jax.compositing import composite, from_uint8
from dreamlayer_jax.diffusion.decode import decode_latents, decode_layers
from dreamlayer_jax.diffusion.decompose import decompose_layers
from dreamlayer_jax.diffusion.denoise import denoise
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.inversion import invert, see_global_only
from dreamlayer_jax.diffusion.noise import scene_keys
from dreamlayer_jax.diffusion.predict import encode_layers
from dreamlayer_jax.diffusion.steps import sampling_steps
from dreamlayer_jax.metrics.pictures import psnr, rgb_l1, soft_iou, ssim
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.prompts import TokenBatch, tokenize
from dreamlayer_jax.tasks.seen_in_picture import with_detail
from sample.evaluate.scenes import FIRST_SEED, batches_of_equal_k, held_out_scenes

Way = Literal["inversion", "inversion unmasked", "inversion without LSSA", "replay", "replay unmasked", "given", "round trip"]
WAYS: tuple[Way, ...] = ("inversion", "inversion unmasked", "inversion without LSSA", "replay", "replay unmasked", "given", "round trip")
FIGURES = {"alpha": "alpha soft IoU", "rgb": "RGB L1", "recomposition": "recomposition, dB", "ssim": "SSIM", "round_trip": "round trip, dB"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decomposition:
    """Takes true held-out pictures apart and scores the layers."""

    weights: str = "pocket"
    count: int = 200
    first_seed: int = FIRST_SEED
    """Of the scenes; settings are chosen on others than the default's."""
    steps: int = 25
    guidance: float | None = None
    methods: tuple[Way, ...] = WAYS
    batch: int = 20
    out: Path | None = None


def tokens_of(model: DreamLayer, examples: list[Example]) -> TokenBatch:
    """Prompts of scenes of one layer count."""
    rows = list(zip(*(example["prompts"] for example in examples), strict=True))
    return tokenize(model.tokenizer, rows, model.config.text.max_position_embeddings)


def taken_apart(model: DreamLayer, options: Decomposition, way: Way, examples: list[Example], pictures: jax.Array) -> list[dict[str, Any]]:
    """Scores of one way, for scenes of one layer count."""
    config = model.config
    if way.endswith("without LSSA"):
        config = dataclasses.replace(config, layered=dataclasses.replace(config.layered, layer_shared=False, guided=False))
    latent = encode_pictures(config, model.params["vae"], pictures)
    made = decompose_layers(
        config,
        model.params,
        latent,
        tokens_of(model, examples),
        model.empty_ids,
        scene_keys([0] * len(examples)),
        sampling_steps(config.schedule, options.steps),
        Guidance(weight=config.guidance if options.guidance is None else options.guidance),
        method=way.split()[0],
        masked="unmasked" not in way,
    )
    decoded, through = decode_layers(config, model.decoders(), made.latents), decode_latents(config, model.params["vae"], latent)
    rgba = np.moveaxis(np.asarray(with_detail(decoded.rgba_straight_01, through, pictures)), 1, 0)
    scored = []
    for example, found in zip(examples, rgba, strict=True):
        true = from_uint8(example["rgba"])
        pairs = list(zip(found[1:], true[1:], strict=True))
        scored.append(
            {
                "alpha": [soft_iou(ours[..., 3], theirs[..., 3]) for ours, theirs in pairs],
                "rgb": [rgb_l1(ours[..., :3], theirs) for ours, theirs in pairs],
                "recomposition": [psnr(composite(found), from_uint8(example["global"]))],
                "ssim": [ssim(composite(found), from_uint8(example["global"]))],
            }
        )
    return scored


def round_trip(model: DreamLayer, options: Decomposition, examples: list[Example], pictures: jax.Array) -> list[dict[str, Any]]:
    """Inversion, then sampling with the same prompts at guidance 1, against the autoencoder alone."""
    config, tokens = model.config, tokens_of(model, examples)
    latent = encode_pictures(config, model.params["vae"], pictures)
    layers = see_global_only(encode_layers(config, model.params, tokens.ids, tokens.words, model.empty_ids))
    steps = sampling_steps(config.schedule, options.steps)
    copies = jnp.broadcast_to(latent, (len(layers.role), *latent.shape))
    start = invert(config, model.params["unet"], copies, layers, steps).states[0]
    back = denoise(config, model.params["unet"], start, layers, steps, Guidance(weight=1.0)).trajectory.clean[-1]
    again, once = (np.asarray(decode_latents(config, model.params["vae"], z)) for z in (back, latent))
    return [{"round_trip": [psnr(a, b)]} for a, b in zip(again, once, strict=True)]


def measure(options: Decomposition) -> dict[str, Any]:
    """For each way, each figure's mean and interval."""
    model = DreamLayer.from_pretrained(options.weights)
    source = held_out_scenes(options.count, options.first_seed)
    batches = list(batches_of_equal_k([source[n] for n in range(len(source))], options.batch))
    summary: dict[str, Any] = {}
    for way in options.methods:
        scored: list[dict[str, Any]] = []
        for examples in tqdm(batches, desc=way, unit="batch"):
            pictures = jnp.asarray(from_uint8(np.stack([example["global"] for example in examples])))
            score = round_trip if way == "round trip" else partial(taken_apart, way=way)
            scored += score(model, options, examples=examples, pictures=pictures)
        summary[way] = figures_of(scored)
    return summary


def main(options: Decomposition) -> None:
    """Prints the table; writes the report, atomically."""
    summary = measure(options)
    for way, figures in summary.items():
        cells = ["{title} {mean:.3g} [{low:.3g}, {high:.3g}]".format(title=FIGURES[name], **figure) for name, figure in figures.items()]
        print(f"| {way} | {' | '.join(cells)} |")
    write_report(options, summary, options.out)


if __name__ == "__main__":
    main(tyro.cli(Decomposition))
