"""The denoiser of a pack, with what makes its conditions: by class id for a DiT, by prompt for a UNet."""

from __future__ import annotations

from collections.abc import Mapping

from limbeck.diffusion.base import Conditioning, PreparedDenoiser
from limbeck.diffusion.denoiser import ClassConditioning, DitDenoiser
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.diffusion.text_condition import PromptTable, TextConditioning
from limbeck.diffusion.unet import UnetDenoiser
from limbeck.engine import Runnable
from limbeck.errors import PackError
from limbeck.pack import DenoiserInfo, DenoiserPart, Pack, Role, UnetInfo
from limbeck.text.tokenizer import Tokenizer

MODULATIONS_NBYTES = 64 * 2**20
"""The most memory that remembered modulations may take: 82 of DiT-XL/2's."""

PROMPTS_NBYTES = 256 * 2**20
"""The most memory that remembered prompts may take: 34 of SD 1.5's."""


def denoiser_roles(info: DenoiserPart) -> tuple[Role, ...]:
    """The graphs that the denoiser runs."""
    return info.roles


def make_denoiser(
    pack: Pack,
    engines: Mapping[Role, Runnable],
    *,
    schedule: NoiseSchedule,
    bucket: int,
    table_nbytes: int | None = None,
) -> tuple[PreparedDenoiser, Conditioning]:
    """The adapter of these engines, and what makes conditions for it from class names.

    Args:
        pack: Says what the engines are, and has the tokenizer of a text encoder.
        engines: One for each of `denoiser_roles`; they are closed by whoever compiled them.
        schedule: The noise schedule of the pack.
        bucket: Samples in one engine call.
        table_nbytes: The most memory that remembered modulations, or keys and values of prompts, may take; None is
            `MODULATIONS_NBYTES` or `PROMPTS_NBYTES`.

    Raises:
        ConfigError: A pack with a text encoder needs the `text` extra.
        PackError: The pack has no denoiser, or a tokenizer that is damaged or does not fit it.
    """
    info = pack.manifest.denoiser
    if isinstance(info, DenoiserInfo):
        limit = MODULATIONS_NBYTES if table_nbytes is None else table_nbytes
        conditioner, trunk = engines["conditioner"], engines["trunk"]
        return DitDenoiser(info, conditioner, trunk, bucket=bucket, table_nbytes=limit), ClassConditioning(info)
    if info is None:
        raise PackError(f"pack '{pack.manifest.name}' has no denoiser; it has: {', '.join(pack.manifest.graphs)}")
    prompts = PromptTable(
        _tokenizer(pack, info),
        engines["text_encoder"],
        engines.get("conditioner"),
        bucket=bucket,
        table_nbytes=PROMPTS_NBYTES if table_nbytes is None else table_nbytes,
    )
    denoiser = UnetDenoiser(info, prompts, engines["trunk"], schedule=schedule, bucket=bucket)
    return denoiser, TextConditioning(info)


def _tokenizer(pack: Pack, info: UnetInfo) -> Tokenizer:
    pack.check_file(info.tokenizer)
    return Tokenizer(pack.folder / info.tokenizer, tokens=info.tokens)
