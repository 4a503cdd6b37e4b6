"""How the server is put together."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.app import worker_config
from limbeck_server.settings import ServerSettings


def test_only_workers_on_a_gpu_are_given_its_runtime_and_wide_calls(tmp_path: Path) -> None:
    settings = ServerSettings(root=tmp_path, devices=["cpu", "cuda:0"], threads=2)
    cpu, cuda = (worker_config(settings, {"mini": tmp_path}, device) for device in settings.devices)
    assert cpu.backend["onnxruntime"] == {"threads": 2}
    assert cuda.backend["onnxruntime"]["providers"] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert (cpu.bucket, cuda.bucket) == (1, 16)


def test_what_the_operator_has_decided_holds_on_every_device(tmp_path: Path) -> None:
    settings = ServerSettings(root=tmp_path, bucket=4)
    assert {worker_config(settings, {}, device).bucket for device in ("cpu", "cuda:1")} == {4}
