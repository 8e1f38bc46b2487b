"""Orbax checkpoints of our parameter tree, as StandardCheckpointer and PyTreeCheckpointer write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.formats.config_json import write_config
from dreamlayer_jax.weights.formats.orbax_folder import load_orbax


@pytest.fixture(scope="module")
def model(plain_model) -> DreamLayer:
    return DreamLayer.from_pretrained(plain_model.folder)


def write(checkpointer: Callable[[], Any], folder: Path, params: Any) -> None:
    with checkpointer() as opened:
        opened.save(folder, params)


@pytest.mark.parametrize("checkpointer", [ocp.StandardCheckpointer, ocp.PyTreeCheckpointer])
def test_the_folder_or_the_one_above_it(model, plain_model, tmp_path: Path, checkpointer: Callable[[], Any]) -> None:
    write(checkpointer, tmp_path / "params", jax.tree.map(lambda leaf: leaf.astype(np.float32), model.params))
    write_config(model.config, tmp_path / "config.json")
    for where in (tmp_path, tmp_path / "params"):
        again = DreamLayer.from_pretrained(where, tokenizer=plain_model.folder / "tokenizer")
        assert again.config == model.config
        jax.tree.map(np.testing.assert_array_equal, again.params, model.params)


def test_errors_name_what_does_not_fit(model, tmp_path: Path) -> None:
    params = {**model.params, "extra": {"a": np.zeros(2)}, "layer_assign": {"embedding": np.zeros((4, 3))}}
    del params["vae"]
    write(ocp.StandardCheckpointer, tmp_path / "params", params)
    with pytest.raises(WeightsError, match=r"has no config\.json in it or beside it"):
        DreamLayer.from_pretrained(tmp_path)
    with pytest.raises(WeightsError) as caught:
        load_orbax(tmp_path / "params", model.config)
    message = caught.value.all_keys
    assert "  vae/quant_conv/bias\n" in message
    assert "not used by the model (1):\n  extra/a\n" in message
    assert message.endswith("of another shape (1):\n  layer_assign/embedding: the checkpoint has (4, 3), the model (4, 12)")
