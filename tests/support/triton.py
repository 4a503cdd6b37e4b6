"""The unmodified tritonclient against a server, in a process of its own: its stubs register the same names as ours.

    python triton.py ADDRESS MODEL IN.npz OUT.npz

IN has the model's inputs; OUT gets its outputs. What the client lists and describes is printed as JSON.
"""

from __future__ import annotations

import json
import sys

import numpy as np


def main(address: str, model: str, given: str, made: str) -> None:
    from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
    from tritonclient.utils import np_to_triton_dtype

    with InferenceServerClient(address) as client:
        report = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "server": client.get_server_metadata(as_json=True),
            "before": client.get_model_repository_index(as_json=True)["models"],
            "model_ready": client.is_model_ready(model),
            "metadata": client.get_model_metadata(model, as_json=True),
            "config": client.get_model_config(model, as_json=True)["config"],
        }
        client.load_model(model)
        report["loaded"] = client.get_model_repository_index(as_json=True)["models"]
        inputs = []
        with np.load(given, allow_pickle=True) as arrays:
            for name, array in arrays.items():
                inputs.append(InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
                inputs[-1].set_data_from_numpy(array)
        names = [tensor["name"] for tensor in report["metadata"]["outputs"]]
        wanted = [InferRequestedOutput(name) for name in names]
        result = client.infer(model, inputs, outputs=wanted, request_id="7", client_timeout=60)
        report["id"] = result.get_response().id
        np.savez(made, **{name: result.as_numpy(name) for name in names})
        client.unload_model(model)
        report["unloaded"] = client.get_model_repository_index(as_json=True)["models"]
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
