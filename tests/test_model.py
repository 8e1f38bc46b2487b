"""A model as a person sees it in a notebook."""

from __future__ import annotations

import numpy as np

from dreamlayer_jax.config import pocket
from dreamlayer_jax.model import Model


def test_a_model_shown_is_one_line() -> None:
    model = Model(config=pocket(), params={"unet": {"kernel": np.zeros((1000, 1500), np.float32)}}, tokenizer=None)
    assert repr(model) == "Model('pocket', 1.5 M parameters, 64x64 pixels)"
