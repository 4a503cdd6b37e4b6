"""The noise schedule that a denoiser was trained with, as diffusers' scheduler config says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.errors import ConfigError, ExportError


def checked_schedule(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what is only of this machine.

    Raises:
        ExportError: It does not say its noise levels, is for a network that does not predict the noise, or is one that
            `NoiseSchedule` refuses: a pack with it could not be opened.
    """
    linear = ("beta_start", "beta_end", "beta_schedule")
    if "num_train_timesteps" not in config or not (config.get("trained_betas") or all(key in config for key in linear)):
        raise ExportError(
            f"the scheduler config has no noise levels: it needs num_train_timesteps and either trained_betas or "
            f"{', '.join(linear)}; it has: {', '.join(config)}"
        )
    prediction = config.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise ExportError(f"the network predicts '{prediction}'; limbeck exports denoisers that predict epsilon")
    kept = {key: value for key, value in config.items() if key != "_name_or_path"}
    try:
        NoiseSchedule.from_config(kept)
    except ConfigError as error:
        raise ExportError(f"the source's noise schedule would make a pack that cannot generate: {error}") from error
    return kept
