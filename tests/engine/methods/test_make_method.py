"""Methods from plain values."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from limbeck.errors import ConfigError
from limbeck.methods import METHODS, make_method
from limbeck.methods.d4m import D4M


def test_settings_win_over_the_preset() -> None:
    method = make_method("d4m", ipc=3, preset="faithful", settings={"strength": 0.5})
    assert method == D4M(**{**vars(D4M.faithful(ipc=3)), "strength": 0.5})


def test_text_from_a_command_line_is_converted() -> None:
    method = make_method("d4m", ipc=3, settings={"strength": "0.5", "guidance_interval": [0.1, 0.9]})
    assert method == D4M(ipc=3, strength=0.5, guidance_interval=(0.1, 0.9))


@pytest.mark.parametrize(
    ("name", "preset", "settings", "message"),
    [
        ("d4n", "default", {}, "unknown method 'd4n'; there is d4m"),
        ("d4m", "loyal", {}, "unknown preset 'loyal'; there is default, faithful"),
        (
            "d4m",
            "default",
            {"num_step": 3},
            "unknown setting 'num_step' for method 'd4m'; did you mean 'num_steps'?",
        ),
        ("d4m", "default", {"strength": "much"}, "setting 'strength' of method 'd4m': .*got 'much'"),
        ("d4m", "default", {"sampler": "euler"}, "setting 'sampler' of method 'd4m'"),
        ("d4m", "default", {"num_steps": True}, "setting 'num_steps' of method 'd4m' is a number, got True"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    name: str, preset: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        make_method(name, ipc=1, preset=preset, settings=settings)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("diver", {"gamma": float("nan")}),
        ("d3hr", {"skew_weight": float("inf")}),
        ("lgm", {"real_part": float("nan")}),
        ("sfm", {"crop_scale": [float("nan"), 1.0]}),
    ],
)
def test_a_setting_that_is_not_finite_is_refused(method: str, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make_method(method, ipc=1, settings=settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0},
        {"noise_probability": 1.5},
        {"noise_std": -1},
        {"image_side": 0},
        {"real_part": -1},
        {"real_part": 1.5},
        {"head_std": 0},
    ],
)
def test_settings_of_pixels_that_cannot_work_are_refused_at_once(settings: dict[str, object]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=name):
        make_method("lgm", ipc=1, settings=settings)


def test_every_method_is_in_the_contract_that_none_imports_another() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (apart,) = (contract for contract in contracts if contract["type"] == "independence")
    assert apart["modules"] == sorted(kind.__module__ for kind in METHODS.values())
