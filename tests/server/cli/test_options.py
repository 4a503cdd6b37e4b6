"""What options stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.errors import ConfigError
from limbeck.imagenet import subset
from limbeck_server.cli.options import class_names_in


def test_class_names_come_from_a_file_or_from_a_subset_of_imagenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert class_names_in(None) is None
    assert class_names_in(Path("imagewoof")) == subset("imagewoof")
    Path("imagewoof").write_text("dog\ncat\n")
    assert class_names_in(Path("imagewoof")) == ["dog", "cat"], "a file of this name comes first"


def test_class_names_that_are_neither_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: .*; of ImageNet there is imagewoof, imagenette"):
        class_names_in(tmp_path / "imagecat")
