"""Make what the peers run: plain exports, their quantized forms, OpenVINO's calibrated int8; and their sources.

    python -m benchmarks.prepare sources  --work DIR [--small]        networks with random weights, seeded
    python -m benchmarks.prepare onnx     --work DIR --network dit    torch.onnx.export, opset 18 and 23
    python -m benchmarks.prepare ort-int8 --work DIR --network dit    onnxruntime.quantization.quantize_dynamic
    python -m benchmarks.prepare ov-int8  --work DIR --network dit    nncf.quantize (needs nncf)
    python -m benchmarks.prepare optimum  --work DIR                  optimum-onnx's export (needs optimum-onnx)

Where a tool fails on a network its reason is written in place of the file, and stands in the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.layout import OPSETS, Layout

from benchmarks import feeds as make_feeds

CALIBRATION_BATCHES = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["sources", "onnx", "ort-int8", "ov-int8", "optimum"])
    parser.add_argument("--work", type=Path, required=True, help="the folder for everything that is made")
    parser.add_argument("--network", nargs="+", default=["dit", "unet", "vae", "backbone"])
    parser.add_argument("--small", action="store_true", help="small networks, to try the scripts out")
    options = parser.parse_args(arguments)
    layout = Layout(options.work)
    if options.stage == "sources":
        from benchmarks.sources import write_sources

        write_sources(layout, options.network, small=options.small)
        return
    if options.stage == "optimum":
        _optimum(layout)
        return
    stages: dict[str, Callable[[Layout, str], None]] = {"onnx": _onnx, "ort-int8": _ort_int8, "ov-int8": _ov_int8}
    for network in options.network:
        stages[options.stage](layout, network)


def example(layout: Layout, network: str, *, batch: int = 2, seed: int = 0) -> make_feeds.Feeds:
    """Feeds of this work folder's network: small ones have other shapes."""
    shapes = json.loads(layout.shapes.read_text())[network]
    made: make_feeds.Feeds = getattr(make_feeds, network)(batch, seed=seed, **shapes)
    return made


def _onnx(layout: Layout, network: str) -> None:
    import torch
    from benchmarks.networks import NETWORKS, load_network, tensors

    module = load_network(network, layout.source(network), torch.float32)
    inputs = tensors(network, example(layout, network), torch.float32)
    batch = {0: torch.export.Dim("batch", min=1, max=256)}
    for opset in OPSETS:
        path = layout.onnx(network, opset)
        with _or_reason(path), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(inputs),
                dynamo=True,
                opset_version=opset,
                input_names=list(NETWORKS[network].inputs),
                output_names=["output"],
                dynamic_shapes=(batch,) * len(inputs),
                verbose=False,
            )
            assert program is not None
            program.save(str(path), external_data=True)


def _ort_int8(layout: Layout, network: str) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = layout.onnx(network, OPSETS[0])
    with _or_reason(layout.ort_int8(network)) as out:
        model = onnx.load(source)
        # quantize_dynamic transposes weights and then meets the exporter's old shapes ("Inferred shape and existing
        # shape differ"); the usual answer is to drop them
        del model.graph.value_info[:]
        quantize_dynamic(model, out, per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=True)


def _ov_int8(layout: Layout, network: str) -> None:
    import nncf  # type: ignore[import-not-found]
    import openvino

    with _or_reason(layout.ov_int8(network)) as out:
        model = openvino.Core().read_model(layout.onnx(network, OPSETS[-1]))
        samples = [example(layout, network, seed=1000 + number) for number in range(CALIBRATION_BATCHES)]
        convolutional = network == "vae"
        quantized = nncf.quantize(
            model,
            nncf.Dataset(samples),
            subset_size=CALIBRATION_BATCHES,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=None if convolutional else nncf.ModelType.TRANSFORMER,
        )
        openvino.save_model(quantized, out, compress_to_fp16=False)


def _optimum(layout: Layout) -> None:
    from optimum.exporters.onnx import main_export  # type: ignore[import-not-found]

    out = layout.optimum
    with _or_reason(out / "unet/model.onnx"):
        main_export(
            str(layout.source("unet")), output=out, task="text-to-image", library_name="diffusers", do_validation=False
        )


@contextmanager
def _or_reason(path: Path) -> Iterator[Path]:
    """The path to write; a failure is written beside it as `.failed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    reason = path.with_suffix(".failed")
    reason.unlink(missing_ok=True)
    print(f"making {path}", flush=True)
    try:
        yield path
    except Exception as error:  # whatever the peer's tool raises is its result
        reason.write_text(f"{type(error).__name__}: {str(error)[:300]}\n")
        print(f"  failed: {type(error).__name__}: {str(error)[:300]}", flush=True)


if __name__ == "__main__":
    main()
