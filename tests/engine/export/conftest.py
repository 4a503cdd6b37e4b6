"""Small networks of the true shapes, as diffusers saves them, and runs of what was exported from them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest


@pytest.fixture(scope="session")
def redraw() -> Callable[..., Any]:
    """Draws every weight of a network anew, so that no block is the identity and no bias is zero.

    Networks of ReLU6 are left as they are: drawn anew they amplify rounding, and torch in float32 is itself 1e-4 to
    2e-4 away from torch in float64.
    """
    torch = pytest.importorskip("torch")

    def draw(network: Any, seed: int = 0) -> Any:
        if any(isinstance(part, torch.nn.ReLU6) for part in network.modules()):
            return network.eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in network.parameters():
                scale = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.3
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=scale)
        return network.eval()

    return draw


@pytest.fixture(scope="session")
def make_dit(redraw: Callable[..., Any]) -> Callable[..., Any]:
    """A DiT of two blocks on latents (4, 8, 8) with ten classes; `tied` gives both blocks the same embedder."""
    diffusers = pytest.importorskip("diffusers")

    def make(*, tied: bool = True, **config: Any) -> Any:
        small = {
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 2,
            "sample_size": 8,
            "patch_size": 2,
            "num_embeds_ada_norm": 10,
        }
        network = redraw(diffusers.DiTTransformer2DModel(**small | config))
        if tied:
            first, *others = (block.norm1.emb for block in network.transformer_blocks)
            for other in others:
                other.load_state_dict(first.state_dict())
        return network

    return make


@pytest.fixture(scope="session")
def make_codec(redraw: Callable[..., Any]) -> Callable[..., Any]:
    """A VAE with 4 latent channels: "tiny" or "kl" of small width; downsampling is 4 and 2."""
    diffusers = pytest.importorskip("diffusers")

    def make(kind: str, **config: Any) -> Any:
        if kind == "tiny":
            width = (16, 16, 16)
            return redraw(
                diffusers.AutoencoderTiny(
                    encoder_block_out_channels=width,
                    decoder_block_out_channels=width,
                    num_encoder_blocks=(1, 1, 1),
                    num_decoder_blocks=(1, 1, 1),
                    **config,
                )
            )
        return redraw(
            diffusers.AutoencoderKL(
                block_out_channels=(16, 16),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                norm_num_groups=4,
                latent_channels=4,
                **config,
            )
        )

    return make


@pytest.fixture(scope="session")
def save_pipeline() -> Callable[..., Path]:
    """Writes a DiT, its noise schedule and perhaps a codec as a pipeline folder."""

    def save(folder: Path, dit: Any, codec: Any = None, *, names: bool = True, **schedule: Any) -> Path:
        dit.save_pretrained(folder / "transformer")
        index = {
            "_class_name": "DiTPipeline",
            "transformer": ["diffusers", "DiTTransformer2DModel"],
            "scheduler": ["diffusers", "DDIMScheduler"],
        }
        if codec is not None:
            codec.save_pretrained(folder / "vae")
            index["vae"] = ["diffusers", type(codec).__name__]
        if names:
            index["id2label"] = {str(i): f"name {i}, synonym" for i in range(dit.config.num_embeds_ada_norm)}
        (folder / "model_index.json").write_text(json.dumps(index))
        levels = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
        (folder / "scheduler").mkdir()
        (folder / "scheduler/scheduler_config.json").write_text(json.dumps(levels | schedule))
        return folder

    return save


@pytest.fixture(scope="session")
def run() -> Callable[..., dict[str, np.ndarray]]:
    """Runs the graph of a role of a pack folder in ONNX Runtime, found by what pack.json says."""

    def run_graph(pack: Path, role: str, **feeds: np.ndarray) -> dict[str, np.ndarray]:
        entry = json.loads((pack / "pack.json").read_text())["graphs"][role]
        session = onnxruntime.InferenceSession(pack / entry["file"], providers=["CPUExecutionProvider"])
        return dict(zip([output["name"] for output in entry["outputs"]], session.run(None, feeds), strict=True))

    return run_graph
