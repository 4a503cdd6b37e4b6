"""The denoiser of a pack, with what makes its conditions: by class id for a DiT, by prompt for a UNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from limbeck.diffusion.base import Conditioning, PreparedDenoiser
from limbeck.diffusion.denoiser import ClassConditioning, DitDenoiser
from limbeck.diffusion.features import CutDenoiser
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.diffusion.step_cache import CachedDitDenoiser, StepCache
from limbeck.diffusion.text_condition import PromptTable, TextConditioning
from limbeck.diffusion.unet import UnetDenoiser
from limbeck.engine import Runnable
from limbeck.errors import ConfigError, PackError
from limbeck.pack import DenoiserInfo, DenoiserPart, Pack, Role, UnetInfo
from limbeck.text.tokenizer import Tokenizer

MODULATIONS_NBYTES = 64 * 2**20
"""The most memory that remembered modulations may take: 82 of DiT-XL/2's."""

PROMPTS_NBYTES = 256 * 2**20
"""The most memory that remembered prompts may take: 34 of SD 1.5's."""


class PackDenoiser(PreparedDenoiser, CutDenoiser, Protocol):
    """What the denoiser of any pack can do."""


def denoiser_roles(info: DenoiserPart, step_cache: StepCache | None = None) -> tuple[Role, ...]:
    """The graphs that the denoiser runs.

    Raises:
        ConfigError: A step cache for another network than a DiT.
    """
    if step_cache is None:
        return info.roles
    if not isinstance(info, DenoiserInfo):
        raise ConfigError(f"a step cache is made for a DiT, and this pack has a {info.kind}; turn the step cache off")
    return (*info.roles, "shallow")


def make_denoiser(
    pack: Pack,
    engines: Mapping[Role, Runnable],
    *,
    schedule: NoiseSchedule,
    bucket: int,
    table_nbytes: int | None = None,
    step_cache: StepCache | None = None,
) -> tuple[PackDenoiser, Conditioning]:
    """The adapter of these engines, and what makes conditions for it from class names.

    Args:
        pack: Says what the engines are, and has the tokenizer of a text encoder.
        engines: One for each of `denoiser_roles` with this step cache; they are closed by whoever compiled them.
        schedule: The noise schedule of the pack.
        bucket: Samples in one engine call.
        table_nbytes: The most memory that remembered modulations, or keys and values of prompts, may take; None is
            `MODULATIONS_NBYTES` or `PROMPTS_NBYTES`.
        step_cache: When a DiT runs only its outer blocks; None is always the whole network. Whether the quality gate
            has accepted it is not asked here: see `step_cache.check_gate`.

    Raises:
        ConfigError: A pack with a text encoder needs the `text` extra.
        PackError: The pack has no denoiser, or a tokenizer that is damaged or does not fit it.
    """
    info = pack.manifest.denoiser
    if isinstance(info, DenoiserInfo):
        limit = MODULATIONS_NBYTES if table_nbytes is None else table_nbytes
        return _dit(info, engines, step_cache, bucket=bucket, table_nbytes=limit), ClassConditioning(info)
    if info is None:
        raise PackError(f"pack '{pack.manifest.name}' has no denoiser; it has: {', '.join(pack.manifest.graphs)}")
    prompts = PromptTable(
        tokenizer_of(pack, info),
        engines["text_encoder"],
        engines.get("conditioner"),
        bucket=bucket,
        table_nbytes=PROMPTS_NBYTES if table_nbytes is None else table_nbytes,
    )
    denoiser = UnetDenoiser(info, prompts, engines["trunk"], schedule=schedule, bucket=bucket)
    return denoiser, TextConditioning(info)


def _dit(
    info: DenoiserInfo,
    engines: Mapping[Role, Runnable],
    step_cache: StepCache | None,
    *,
    bucket: int,
    table_nbytes: int,
) -> DitDenoiser:
    conditioner, trunk = engines["conditioner"], engines["trunk"]
    if step_cache is None:
        return DitDenoiser(info, conditioner, trunk, bucket=bucket, table_nbytes=table_nbytes)
    shallow = engines["shallow"]
    return CachedDitDenoiser(
        info, conditioner, trunk, shallow, cache=step_cache, bucket=bucket, table_nbytes=table_nbytes
    )


def tokenizer_of(pack: Pack, info: UnetInfo) -> Tokenizer:
    """The tokenizer of a text-conditioned denoiser, its file checked."""
    pack.check_file(info.tokenizer)
    return Tokenizer(pack.folder / info.tokenizer, tokens=info.tokens)
