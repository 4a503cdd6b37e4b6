"""Networks that are exported once for all tests of the library."""

from pathlib import Path

import pytest

from support.pipelines import write_pipeline


@pytest.fixture(scope="session")
def sd_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small Stable Diffusion pipeline."""
    for package in ("torch", "diffusers", "transformers"):
        pytest.importorskip(package)
    return write_pipeline(tmp_path_factory.mktemp("sd") / "pipeline")


@pytest.fixture(scope="session")
def sd_pack(tmp_path_factory: pytest.TempPathFactory, sd_source: Path) -> Path:
    """The pack that was exported from it."""
    pytest.importorskip("onnx")
    from limbeck.export.pack import export_pack

    pack = tmp_path_factory.mktemp("sd-pack") / "pack"
    export_pack([str(sd_source)], pack)
    return pack
