"""The denoiser of a pack, with what makes its conditions: by class id for a DiT."""

from __future__ import annotations

from collections.abc import Mapping

from limbeck.diffusion.base import Conditioning, Denoiser
from limbeck.diffusion.denoiser import ClassConditioning, DitDenoiser
from limbeck.engine import Runnable
from limbeck.pack import DenoiserInfo, Role


def denoiser_roles(info: DenoiserInfo) -> tuple[Role, ...]:
    """The graphs that the denoiser runs."""
    return ("conditioner", "trunk")


def make_denoiser(
    info: DenoiserInfo, engines: Mapping[Role, Runnable], *, bucket: int
) -> tuple[Denoiser, Conditioning]:
    """The adapter of these engines, and what makes conditions for it from class names."""
    return DitDenoiser(info, engines["conditioner"], engines["trunk"], bucket=bucket), ClassConditioning(info)
