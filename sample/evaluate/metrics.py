"""The metrics by name, as a report shows them. `scoring.py` and `distances.py` define them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a report calls it, and how it prints it. A share is stored in 0 … 1 for each scene and summed up in per cent."""

    title: str
    digits: int = 1
    share: bool = False


SECTIONS: dict[str, dict[str, Metric]] = {
    "Whole pictures (the paper's Table 1)": {
        "frechet_global": Metric("Fréchet distance: global picture", 3),
        "frechet_blend": Metric("Fréchet distance: blend, without IRH", 3),
        "frechet_composite": Metric("Fréchet distance: IRH composite", 3),
        "agreement_global": Metric("object named in the global picture, %", share=True),
        "agreement_blend": Metric("object named in the blend, %", share=True),
        "agreement_composite": Metric("object named in the composite, %", share=True),
        "clip_global": Metric("CLIP score: global picture", 2),
        "clip_blend": Metric("CLIP score: blend", 2),
        "clip_composite": Metric("CLIP score: composite", 2),
    },
    "Single layers (the paper's Table 6)": {
        "frechet_background": Metric("Fréchet distance: background", 3),
        "frechet_foreground": Metric("Fréchet distance: foreground, on mid-grey", 3),
        "agreement_foreground": Metric("object named in its own layer, %", share=True),
        "clip_background": Metric("CLIP score: background", 2),
        "clip_foreground": Metric("CLIP score: foreground, on mid-grey", 2),
    },
    "Layout": {
        "layout_iou": Metric("layout agreement, mean alpha IoU", 2),
    },
    "Recomposition, against the global picture": {
        "psnr_blend": Metric("PSNR of the blend, dB"),
        "psnr_composite": Metric("PSNR of the composite, dB"),
        "psnr_blend_in_shadow": Metric("… of the blend, inside shadows, dB"),
        "psnr_composite_in_shadow": Metric("… of the composite, inside shadows, dB"),
        "psnr_blend_outside": Metric("… of the blend, outside shadows, dB"),
        "psnr_composite_outside": Metric("… of the composite, outside shadows, dB"),
        "ssim_blend": Metric("SSIM of the blend", 3),
        "ssim_composite": Metric("SSIM of the composite", 3),
    },
    "Layer purity": {
        "background_free": Metric("background free of objects, %", share=True),
        "one_object": Metric("foreground layer free of a second object, %", share=True),
        "stray_alpha": Metric("alpha left outside a foreground's object, %", 2, share=True),
    },
}
METRICS = {name: metric for section in SECTIONS.values() for name, metric in section.items()}
