"""A backbone's gradient graphs, written beside its graph and compared with torch's autograd.

They refer to the backbone's own file of weights: what is added is nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.backends.base import GraphSpec
from limbeck.errors import ParityError
from limbeck.export.gradient_graph import flow_gradient_graph, gradient_graph
from limbeck.export.graph import WrittenGraph
from limbeck.export.parity import Computation, Feeds, opened, random_feeds
from limbeck.pack import GraphEntry, Role
from limbeck.precision import FP32
from limbeck_kernels.distances import relative_error

_IMAGES, _CLASSES = 8, 4
"""To compare on. Even one image in eight without a value near a kink tells a right formula from a wrong one."""

KINK_TOLERANCE = 0.1
"""Relative error that a gradient may have on an image where activations lie at a kink."""

_WRITERS: Mapping[Role, Callable[[ir.Model], GraphSpec]] = {
    "gradient": gradient_graph,
    "flow_gradient": flow_gradient_graph,
}


def export_gradients(network: nn.Module, backbone: GraphEntry, pack: Path) -> dict[Role, GraphEntry]:
    """Write the gradient graphs of a backbone's graph, and compare them with torch's autograd.

    Args:
        network: What the graph was exported from.
        backbone: The graph, in the pack; where its weights lie beside it, they are not stored again.
        pack: The pack's folder.

    Raises:
        ExportError: The graph has an operator whose gradient is not known.
        ParityError: A gradient is not autograd's.
    """
    return {role: _export(role, network, backbone, pack) for role in _WRITERS}


def _export(role: Role, network: nn.Module, backbone: GraphEntry, pack: Path) -> GraphEntry:
    model = ir.load(pack / backbone.file)
    spec = _WRITERS[role](model)
    path = (pack / backbone.file).with_name(f"{role}.onnx")
    ir.save(model, path)
    written = WrittenGraph(
        file=path.relative_to(pack).as_posix(), external=backbone.external, spec=spec, weights=backbone.weights
    )
    feeds = _feeds(role, spec)
    with opened(written, pack) as graph:
        return written.entry(check_gradient(role, graph, _autograd(role, network), feeds))


def check_gradient(name: str, graph: Computation, network: Computation, feeds: Feeds) -> float:
    """The relative error of a gradient graph on the image where it is smallest, or of its other outputs if larger.

    Where an activation lies at a kink (ReLU, a maximum), rounding decides between two slopes that are equally right,
    and one such choice moves the gradient of its image by about 1e-3: no two runtimes agree on all images. A wrong
    formula is wrong on every image, so it is seen on the best one; the others must be near.

    Raises:
        ParityError: It is above the tolerance of float32, or an image is further off than kinks explain.
    """
    found, expected = graph(feeds), network(feeds)
    images = [relative_error(*pair) for pair in zip(found["pixel_gradient"], expected["pixel_gradient"], strict=True)]
    others = [relative_error(found[key], expected[key]) for key in expected if key != "pixel_gradient"]
    error = max(min(images), *others)
    worst = max(images)
    if not (error <= FP32.tolerance and worst <= KINK_TOLERANCE):
        raise ParityError(
            f"the {name} graph is not torch's gradient: relative error {error:.2e}, {FP32.name} allows "
            f"{FP32.tolerance:.0e}; on the image where it is largest {worst:.2e}, kinks explain {KINK_TOLERANCE:.0e}; "
            "no pack was written",
            error=error,
            tolerance=FP32.tolerance,
        )
    return error


def _feeds(role: Role, spec: GraphSpec) -> Feeds:
    feeds = dict(random_feeds(spec.inputs, {"batch": _IMAGES, "classes": _CLASSES}))
    if role == "flow_gradient":
        feeds["membership"] = np.repeat(np.eye(_CLASSES, dtype=np.float32), _IMAGES // _CLASSES, axis=0) * 0.5
        feeds["divisor"] = np.full(1, _CLASSES - 1, np.float32)
    return feeds


def _autograd(role: Role, network: nn.Module) -> Computation:
    def run(feeds: Feeds) -> Feeds:
        given = {name: torch.from_numpy(array) for name, array in feeds.items()}
        pixels = given.pop("pixels").requires_grad_()
        features = network(pixels)
        results: dict[str, Tensor] = {"features": features}
        if role == "flow_gradient":
            results["loss"] = scalar = _flow_loss(features, **given)
        else:
            scalar = (features * given["cotangent"]).sum()
        (results["pixel_gradient"],) = torch.autograd.grad(scalar.sum(), pixels)
        return {name: result.detach().numpy() for name, result in results.items()}

    return run


def _flow_loss(features: Tensor, flow: Tensor, membership: Tensor, divisor: Tensor) -> Tensor:
    """As `flow_gradient_graph` says it, shape (1,)."""
    means = membership.T @ features
    made = (means.sum(0) - means) / divisor - means
    return 1 - F.cosine_similarity(made.flatten(), flow.flatten(), dim=0).reshape(1)
