"""Methods of other packages, as they lie in an environment: a module and its dist-info."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from limbeck.errors import ConfigError
from limbeck.methods import METHODS, find_method, make_method, method_names
from limbeck.methods.plugins import package_of
from limbeck.methods.random_real import RandomReal
from support.packages import install

ODD = '''
from dataclasses import dataclass
from limbeck.methods.plugins import package_of
from limbeck.methods.random_real import RandomReal

@dataclass(frozen=True, kw_only=True)
class Odd(RandomReal):
    """Random images, and an odd setting."""
    name = "odd"
    oddity: float = 0.5
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_method_of_another_package_is_made_by_its_name(site: Path) -> None:
    install(site, "limbeck-odd", methods={"odd": "limbeck_odd_a:Odd"}, module=("limbeck_odd_a", ODD))
    method = make_method("odd", ipc=2, seed=3, settings={"oddity": "0.25"})
    assert type(method).__name__ == "Odd"
    assert vars(method)["oddity"] == 0.25
    assert method.ipc == 2


def test_its_settings_are_checked_as_those_of_any_method(site: Path) -> None:
    install(site, "limbeck-odd", methods={"odd": "limbeck_odd_b:Odd"}, module=("limbeck_odd_b", ODD))
    with pytest.raises(ConfigError, match="unknown setting 'odity' for method 'odd'; did you mean 'oddity'"):
        make_method("odd", ipc=2, settings={"odity": 1})


def test_names_are_listed_and_nothing_is_loaded(site: Path) -> None:
    install(site, "limbeck-odd", methods={"odd": "limbeck_odd_c:Odd"}, module=("limbeck_odd_c", ODD))
    assert method_names() == [*METHODS, "odd"]
    assert "limbeck_odd_c" not in sys.modules
    with pytest.raises(ConfigError, match=r"unknown method 'od'; there is d4m, .*, odd$"):
        make_method("od", ipc=1, settings={})
    assert "limbeck_odd_c" not in sys.modules


def test_the_package_that_registers_a_method_is_known_with_its_version(site: Path) -> None:
    install(site, "limbeck-odd", methods={"odd": "limbeck_odd_e:Odd"}, module=("limbeck_odd_e", ODD))
    assert package_of("odd") == "limbeck-odd 1.0"
    assert package_of("even") is None
    assert "limbeck_odd_e" not in sys.modules


def test_limbecks_own_method_wins_over_one_of_its_name(site: Path) -> None:
    install(site, "usurper", methods={"random": "usurper:Odd"}, module=("usurper", "raise RuntimeError"))
    assert find_method("random") is RandomReal
    assert method_names().count("random") == 1


def test_a_package_that_is_broken_is_named_and_in_nobodys_way(site: Path) -> None:
    install(
        site, "limbeck-broken", methods={"broken": "limbeck_broken:Odd"}, module=("limbeck_broken", "import nothing")
    )
    install(site, "limbeck-odd", methods={"odd": "limbeck_odd_d:Odd"}, module=("limbeck_odd_d", ODD))
    assert make_method("odd", ipc=1, settings={}).ipc == 1
    with pytest.raises(
        ConfigError,
        match=r"method 'broken' of package 'limbeck-broken 1.0' cannot be loaded from limbeck_broken:Odd: "
        "ModuleNotFoundError: No module named 'nothing'",
    ):
        make_method("broken", ipc=1, settings={})


def test_two_packages_with_a_method_of_one_name_are_both_named(site: Path) -> None:
    for package in ("first", "second"):
        install(site, package, methods={"odd": f"{package}_odd:Odd"}, module=(f"{package}_odd", ODD))
    with pytest.raises(ConfigError, match=r"package '\w+ 1.0' and package '\w+ 1.0' both register method 'odd'"):
        find_method("odd")


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (0, "Odd = 3", "it is not a dataclass"),
        (1, ODD.replace('"odd"', '"even"'), "it calls itself 'even'"),
        (2, ODD + '    needs = {"crystal ball"}', r"its needs are \{'crystal ball'\}, not a set of denoiser, codec"),
        (
            3,
            "from dataclasses import dataclass\n@dataclass\nclass Odd:\n    name = 'odd'\n    seed: int = 0",
            "it has no field ipc; it has no check, warm_up, work, units, distill, faithful; its needs are None",
        ),
    ],
)
def test_what_is_no_method_is_refused_with_every_reason(site: Path, number: int, code: str, message: str) -> None:
    module = f"limbeck_no_method_{number}"
    install(site, "limbeck-odd", methods={"odd": f"{module}:Odd"}, module=(module, code))
    with pytest.raises(ConfigError, match=f"'odd' of package 'limbeck-odd 1.0', {module}:Odd, is no method: {message}"):
        find_method("odd")
