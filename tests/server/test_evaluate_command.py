"""What `limbeck evaluate` refuses, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from limbeck_server.cli import app

pytestmark = pytest.mark.torch
pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--image-size", "32", "--protocol", "soft"), "give --train"),
        (("--image-size", "32", "--protocol", "hard", "--student", "resnet-19"), "unknown student 'resnet-19'"),
        (("--image-size", "32", "--protocol", "hard", "--baseline", "random"), "give --train"),
        (
            ("--image-size", "32", "--protocol", "hard", "--baseline", "some"),
            "unknown baseline 'some'; there is random, all",
        ),
        (("--image-size", "32", "--protocol", "hard", "--scale", "0.5", "--epochs", "2"), "scale or epochs, not both"),
        (("--protocol", "linear", "--scale", "0.5", "--epochs", "2"), "scale or epochs, not both"),
        (
            ("--image-size", "32", "--protocol", "hard", "--labels", "labels.npz"),
            "--labels means nothing to protocol 'hard', but to fkd",
        ),
        (
            ("--image-size", "32", "--protocol", "hard", "--width", "8", "--student", "vit-b-16"),
            "width=8 does not fit student 'vit-b-16'",
        ),
        (("--protocol", "inheritance", "--train", "."), "give --heir"),
        (("--protocol", "inheritance"), "give --train"),
        (("--protocol", "linear", "--baseline", "random"), "give --train"),
        (("--protocol", "linear", "--student", "resnet-18"), "--student means nothing to protocol 'linear'"),
        (("--protocol", "probe", "--baseline", "random"), "--baseline means nothing to protocol 'probe'"),
        (("--protocol", "probe", "--precision", "float32"), "--precision means nothing to protocol 'probe'"),
        ((), "give --train"),
    ],
)
def test_what_cannot_be_evaluated_is_said(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32), "white" if name == "cat" else "black").save(tmp_path / name / "0.png")
    common = ["evaluate", str(tmp_path), "--test", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, [*common, *arguments])
    assert done.exit_code == 2, done.output
    assert message in done.output
