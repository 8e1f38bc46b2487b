"""`python -m sample evaluate`: the model's figures on held-out prompt sets, as a folder with tables and a contact sheet."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from dreamlayer_jax.cli.options import HARMONIZE, MODEL, Harmonize, Model, SamplingOptions, outside_failures
from dreamlayer_jax.files import require_free
from dreamlayer_jax.request import RequestError, check_seed

if TYPE_CHECKING:
    from data.source import Example
    from sample.evaluate.scenes import ScenePictures

SAMPLING = SamplingOptions(steps=25)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Makes the scenes of held-out prompt sets and measures them: Fréchet distance, prompt and layout agreement, recomposition, purity.

    Needs the extra [evaluate]. The pocket model's pictures, 64x64 pixels, are what the probe can read.
    """

    out: Path
    """The folder to write: report.md, report.json, sheet.png."""
    truth: tyro.conf.FlagCreatePairsOff[bool] = False
    """Measure the true scenes in place of generated ones: the ceiling of what the probe can find."""
    count: int = 1500
    """How many prompt sets, with 2, 3 and 4 layers in turn; always the first of the same list."""
    sampling: tyro.conf.OmitArgPrefixes[SamplingOptions] = SAMPLING
    seed: int = 0
    """Of the noise, each scene's by itself. The same seed and batch give the same pictures on the same machine."""
    batch: int = 16
    """Scenes at a time."""
    no_harmonize: tyro.conf.FlagCreatePairsOff[bool] = False
    """Leave out the harmonised composites and their second pass."""
    harmonize: tyro.conf.OmitArgPrefixes[Harmonize] = HARMONIZE
    clip: Path | None = None
    """A folder with a CLIP model of transformers: CLIP scores, and its features for the Fréchet distance instead of the probe's.
    Needs PyTorch."""
    features: Path | None = None
    """A folder with a vision model of transformers, such as DINOv2, or of timm, for the Fréchet distance. Needs PyTorch. No such distance
    compares with published FIDs: those take an Inception v3 network of their own, not timm's."""
    probe: Path | None = None
    """The folder of another probe than the one that comes with the program."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace an earlier report in the folder."""
    model: tyro.conf.OmitArgPrefixes[Model] = MODEL

    def run(self) -> None:
        """Nothing is written unless everything is measured."""
        for name in ("count", "batch"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} is {getattr(self, name)}; give at least 1")
        check_seed(self.seed)
        self.sampling.sampling()
        if importlib.util.find_spec("skimage") is None:
            raise RequestError("SSIM needs scikit-image, which is not installed: pip install -e '.[evaluate]'")
        from sample.evaluate.report import LISTING, markdown_sections, write_report

        require_free(self.out, overwrite=self.overwrite, listing=LISTING)
        report, scenes = self._measure()
        write_report(report, scenes, self.out, overwrite=self.overwrite)
        print(markdown_sections(report["summary"]))
        print(f"wrote {self.out}; look at {self.out / 'sheet.png'} first")

    def _measure(self) -> tuple[dict[str, Any], list[ScenePictures]]:
        """The report, and the pictures that it is of."""
        from sample.evaluate.clip import load_clip
        from sample.evaluate.measure import measure
        from sample.evaluate.probe import FOLDER, load_probe
        from sample.evaluate.scenes import held_out_scenes, true_pictures
        from sample.evaluate.vision import load_vision

        probe = load_probe(self.probe or FOLDER)
        clip = None if self.clip is None else load_clip(self.clip)
        vision = None if self.features is None else load_vision(self.features)
        extractor, folder = vision or clip or probe, self.features or self.clip
        make = None if self.truth else self._maker()
        source = held_out_scenes(self.count)
        examples = [source[n] for n in range(len(source))]
        truth = [true_pictures(example) for example in examples]
        started = time.monotonic()
        scenes, settings = (truth, {}) if make is None else make(examples)
        seconds = time.monotonic() - started
        scored, summary = measure(scenes, truth, probe, extractor, clip)
        report = {
            "measured": "the true scenes" if self.truth else self.model.weights or "pocket",
            "settings": {"count": self.count, **settings},
            "features": extractor.title if folder is None else f"{extractor.title} ({folder})",
            "generation_seconds": round(seconds, 1),
            "summary": summary,
            "scenes": [dataclasses.asdict(scene) for scene in scored],
        }
        return report, scenes

    def _maker(self) -> Callable[[list[Example]], tuple[list[ScenePictures], dict[str, Any]]]:
        """What makes the scenes of examples' prompts, and says the settings that they were made with; the model is loaded and checked."""
        from sample.evaluate.pictures import Making, check_model, generated_pictures

        model = self.model.load(())
        making = Making(
            sampling=self.sampling.sampling().of(model.config),
            seed=self.seed,
            batch=self.batch,
            window=None if self.no_harmonize else self.harmonize.window(model),
        )
        check_model(model, making)
        settings = {**making.sampling.settings(), "seed": making.seed, "batch": making.batch, "window": making.window}
        return lambda examples: (generated_pictures(model, making, examples), settings)

    failures = staticmethod(outside_failures)
