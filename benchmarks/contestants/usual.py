"""The usual peers of a network: torch, ONNX Runtime and OpenVINO as their documentation says to use them."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.contest import Entry
from benchmarks.harness.options import Options

TORCH = "benchmarks.contestants.torch_networks:Torch"
ONNX_RUNTIME = "benchmarks.contestants.onnx_files:OnnxRuntimeFile"
OPENVINO = "benchmarks.contestants.onnx_files:OpenVinoFile"
PROCESS_GIB = 0.6
"""What a runtime takes before it has any weights; torch with diffusers takes most."""
WEAK = ("eager bf16", "plain export", "OpenVINO fp32", "rest fp32")
"""Parts of the names of peers that another of the same runtime beats; they are spared the dear cases."""


def usual_peers(
    options: Options,
    network: str,
    *,
    cases: tuple[str, ...],
    strongest: tuple[str, ...] = (),
    channels: int | None = None,
    convolutional: bool = False,
) -> list[Entry]:
    """Everyone who runs this network.

    Args:
        options: Where the files are, and the threads.
        network: One of `benchmarks.networks.NETWORKS`.
        cases: The cases of everyone.
        strongest: Further, dear cases that only the reference and the strongest of each runtime take part in.
        channels: How many channels of the output are compared; None for all.
        convolutional: Whether torch also runs with `channels_last`.
    """
    layout = options.layout
    weights = _weights_gib(options, network)
    torch: dict[str, Any] = {"kind": network, "source": str(layout.source(network))}
    half = {**torch, "dtype": "bfloat16", "channels_last": convolutional}
    opset18, opset23 = ({"path": str(layout.onnx(network, opset)), "channels": channels} for opset in (18, 23))
    ort_int8 = {"path": str(layout.ort_int8(network)), "channels": channels}
    ov_int8 = {"path": str(layout.ov_int8(network)), "channels": channels}
    rows: list[tuple[str, str, dict[str, Any], str, float]] = [
        ("diffusers, eager fp32", TORCH, torch, "fp32", 1.2),
        ("diffusers, eager bf16", TORCH, half, "bf16", 0.6),
        ("diffusers, torch.compile bf16, frozen", TORCH, {**half, "compiled": True}, "bf16", 1.2),
        ("ONNX Runtime, plain export, opset 18", ONNX_RUNTIME, opset18, "fp32", 1.0),
        ("ONNX Runtime, plain export, opset 23", ONNX_RUNTIME, opset23, "fp32", 1.0),
        ("ONNX Runtime, quantize_dynamic", ONNX_RUNTIME, ort_int8, "int8", 0.3),
        ("OpenVINO fp32", OPENVINO, {**opset23, "precision": "f32"}, "fp32", 2.0),
        ("OpenVINO bf16", OPENVINO, {**opset23, "precision": "bf16"}, "bf16", 1.6),
        ("OpenVINO int8, calibrated, rest fp32", OPENVINO, {**ov_int8, "precision": "f32"}, "int8", 0.8),
        ("OpenVINO int8, calibrated, rest bf16", OPENVINO, {**ov_int8, "precision": "bf16"}, "int8", 0.8),
    ]
    if network == "backbone":
        rows = [(name.replace("diffusers", "timm"), *rest) for name, *rest in rows]  # type: ignore[misc]
    return [
        Entry(
            name=name,
            kind="peer" if number else "reference",
            target=target,
            settings={**settings, "threads": options.threads},
            ceiling=ceiling,
            gib=PROCESS_GIB + times * weights,
            cases=cases + (strongest if not number or _is_strong(name) else ()),
        )
        for number, (name, target, settings, ceiling, times) in enumerate(rows)
    ]


def limbeck_entry(
    options: Options,
    name: str,
    target: str,
    *,
    cases: tuple[str, ...],
    ceiling: str,
    gib: float,
    **settings: Any,
) -> Entry:
    """A contestant of ours; `target` is a class of `benchmarks.contestants.limbeck_packs`."""
    return Entry(
        name=f"limbeck, {name}",
        kind="limbeck",
        target=f"benchmarks.contestants.limbeck_packs:{target}",
        settings={**settings, "threads": options.threads},
        ceiling=ceiling,
        gib=gib,
        cases=cases,
    )


def _is_strong(name: str) -> bool:
    return not any(part in name for part in WEAK)


def _weights_gib(options: Options, network: str) -> float:
    """The size of the plain export's weights, or of nothing if it is not there."""
    files = options.layout.onnx(network, 23).parent.glob("*")
    return sum(path.stat().st_size for path in files) / 2**30
