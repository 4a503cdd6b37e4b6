"""`Models`: the networks of a pack, compiled and wrapped, ready for a method.

with open_models(Pack.open("mini"), OnnxRuntime(), bucket=16) as models:
    images = models.codec.decode(latents)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from limbeck.backends.base import Backend
from limbeck.diffusion.base import Conditioning, Denoiser, LatentCodec
from limbeck.diffusion.codec import PackCodec
from limbeck.diffusion.denoisers import denoiser_roles, make_denoiser
from limbeck.diffusion.pack_check import check_codec, check_denoiser
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.engine import Engine, compile
from limbeck.errors import ConfigError, PackError
from limbeck.pack import Pack, Role


@dataclass(frozen=True)
class Models:
    """What a generating method is given.

    Args:
        denoiser: Predicts noise, without guidance; a method wraps it in `Guided`.
        conditioning: Class names to conditions of this denoiser.
        codec: Pixels to latents and back.
        schedule: The noise schedule the denoiser was trained with.
        image_size: Height and width of the images it makes, in pixels.
        latent_shape: (channels, height, width).
        bucket: Samples that share a batch. With the seed, it decides an image.
        engines: Role and key of every engine, for the manifest.
    """

    denoiser: Denoiser
    conditioning: Conditioning
    codec: LatentCodec
    schedule: NoiseSchedule
    image_size: int
    latent_shape: tuple[int, int, int]
    bucket: int
    engines: Mapping[str, str]


@contextmanager
def open_models(pack: Pack, backend: Backend, *, bucket: int = 16) -> Iterator[Models]:
    """Compile the generating networks of `pack` with `backend`; they are closed at the end of the block.

    Raises:
        ConfigError: `bucket` is below 1.
        PackError: The pack has no denoiser or no codec, a file is damaged, a graph is not what the manifest says, or
            its noise schedule cannot be followed.
        EngineError: The backend refuses a graph.
    """
    if bucket < 1:
        raise ConfigError(f"bucket must be at least 1, got {bucket}")
    info = pack.manifest
    if info.denoiser is None or info.codec is None or info.image_size is None:
        has = ", ".join(info.graphs)
        raise PackError(f"pack '{info.name}' cannot generate: it needs a denoiser and a codec, it has only: {has}")
    schedule = _schedule(pack)
    roles: tuple[Role, ...] = (*denoiser_roles(info.denoiser), "encoder", "decoder")
    graphs = {role: pack.graph(role) for role in roles}
    check_denoiser(info.name, info.denoiser, graphs)
    check_codec(info.name, info.codec, info.image_size, graphs)
    with ExitStack() as stack:
        engines: dict[Role, Engine] = {}
        for role, graph in graphs.items():
            engines[role] = stack.enter_context(compile(graph, backend))
        denoiser, conditioning = make_denoiser(info.denoiser, engines, bucket=bucket)
        yield Models(
            denoiser=denoiser,
            conditioning=conditioning,
            codec=PackCodec(info.codec, engines["encoder"], engines["decoder"], bucket=bucket),
            schedule=schedule,
            image_size=info.image_size,
            latent_shape=info.denoiser.latent_shape,
            bucket=bucket,
            engines={role: engine.key for role, engine in engines.items()},
        )


def _schedule(pack: Pack) -> NoiseSchedule:
    try:
        return NoiseSchedule.from_config(pack.schedule_config())
    except ConfigError as error:
        raise PackError(f"pack '{pack.manifest.name}' has a noise schedule that cannot be walked: {error}") from error
