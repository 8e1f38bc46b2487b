"""What every parity test does: fill a PyTorch network with random numbers, save it, load its file here, compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from dreamlayer_jax.weights.files.convert import from_params, load_safetensors, to_params


def _randomise(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))
    return network.eval()


@pytest.fixture
def randomise() -> Callable[..., torch.nn.Module]:
    """Draws every parameter, norms and biases too: what is zero or one at first would hide a mistake."""
    return _randomise


@pytest.fixture
def load() -> Callable[..., dict]:
    """(folder of a saved network, our module, example inputs) to our parameters; the way back must give the file again, bit for bit."""

    def load_folder(folder: Path, module, *inputs) -> dict:
        (file,) = folder.glob("*.safetensors")
        tensors = load_safetensors(file)
        expected = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
        params = to_params(tensors, expected)
        written = from_params(params)
        assert len(written) == len(tensors)
        for key, tensor in tensors.items():
            ours = key if key in written else f"text_model.{key}"
            np.testing.assert_array_equal(written[ours], tensor)
        return params

    return load_folder


@pytest.fixture
def run() -> Callable[..., Any]:
    """`function(*args)` compiled as one program, without the optimisations: at these sizes compiling is nearly all of the time."""
    return lambda function, *args: jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})(*args)


@pytest.fixture
def relative_error() -> Callable[..., float]:
    """Largest difference over the root mean square of the reference (ours NHWC, the reference NCHW if it has four axes)."""

    def error(ours, reference: torch.Tensor) -> float:
        reference = reference.detach().numpy()
        if reference.ndim == 4:
            reference = reference.transpose(0, 2, 3, 1)
        assert ours.shape == reference.shape
        return float(np.abs(np.asarray(ours) - reference).max() / np.sqrt(np.mean(reference**2)))

    return error


@pytest.fixture
def draw() -> Callable[..., torch.Tensor]:
    """Standard normal NCHW input."""
    return lambda *shape, seed=1: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def nhwc() -> Callable[..., np.ndarray]:
    """A PyTorch picture in our layout."""
    return lambda tensor: tensor.numpy().transpose(0, 2, 3, 1)
