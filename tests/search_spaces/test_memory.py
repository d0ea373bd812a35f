"""Closed-form memory, compared with what autograd keeps and with the lifetimes in a traced graph."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, fx, nn

from baselines import load
from baselines.memory import measured_peak
from search_spaces import Architecture, StageSpace, layer_costs
from search_spaces.memory import layer_memory, network_memory
from search_spaces.network import build_network
from tests.search_spaces.strategies import architectures


def kept_by_autograd(architecture: Architecture) -> int:
    """Elements that autograd keeps per additional image in the batch."""
    network = build_network(architecture).train()

    def kept(batch: int) -> int:
        storages: dict[int, tuple[int, Tensor]] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            # Keep a reference, so no other tensor gets the same address.
            storages[storage.data_ptr()] = (storage.nbytes() // tensor.element_size(), tensor)
            return tensor

        side = architecture.resolution
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = network(torch.rand(batch, 3, side, side))
        total = sum(count for count, _ in storages.values())
        del logits
        return total

    return kept(3) - kept(2)


IN_PLACE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.Mish, nn.Dropout, nn.Identity)


class Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def peak_of_graph(architecture: Architecture) -> int:
    """Peak of live elements when the traced network runs with norms, activations, sums and gates in place."""
    network = build_network(architecture).eval()
    graph = Tracer().trace(network)
    side = architecture.resolution
    values: dict[fx.Node, Tensor] = {}
    sizes: dict[fx.Node, int] = {}  # by the node that owns the memory
    owner: dict[fx.Node, fx.Node] = {}
    order = list(graph.nodes)
    last_use: dict[fx.Node, int] = {}
    interpreter: Any = fx.Interpreter(fx.GraphModule(network, graph))
    peak = 0
    interpreter.args_iter = iter([torch.empty(1, 3, side, side)])

    def value(argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda node: values[node])

    for node in order:
        if node.op == "output":
            continue
        if node.op == "placeholder":
            values[node] = torch.empty(1, 3, side, side)
        elif node.op == "call_module":
            values[node] = network.get_submodule(str(node.target))(*value(node.args))
        elif node.op == "call_method":
            instance, *rest = value(node.args)
            values[node] = getattr(instance, str(node.target))(*rest, **node.kwargs)
        else:
            values[node] = node.target(*value(node.args), **node.kwargs)  # type: ignore[operator]
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        functions = (torch.sigmoid, operator.mul, operator.add)
        if isinstance(module, IN_PLACE) or (node.op == "call_function" and node.target in functions):
            owner[node] = owner[node.args[0]]  # type: ignore[index]
        else:
            owner[node] = node
            sizes[node] = values[node].numel()
    for step, node in enumerate(order):
        for used in node.all_input_nodes:
            last_use[owner[used]] = step
    for step, node in enumerate(order):
        alive = {owner[n] for n in order[: step + 1] if n in owner and last_use.get(owner[n], 0) >= step}
        if node in owner:
            alive.add(owner[node])
        peak = max(peak, sum(sizes[memory] for memory in alive))
    return peak


SMALL = 64
SPECS = ["efficientnet_b0", "efficientnet_lite0", "mnasnet_a1", "mnasnet_small", "mobilenet_v2"]


@pytest.mark.parametrize("name", SPECS)
def test_specs(name: str) -> None:
    architecture = replace(load(name).architecture, resolution=SMALL)
    memory = network_memory(architecture)
    assert memory.training == kept_by_autograd(architecture)
    with torch.device("meta"), torch.no_grad():
        assert memory.inference == peak_of_graph(architecture)


def peak_of_training(architecture: Architecture, images: int, *, recompute: bool) -> int:
    """Peak of the bytes of tensors that a training step allocates."""
    network = build_network(architecture)
    network.recompute = recompute
    inputs = torch.randn(images, 3, architecture.resolution, architecture.resolution)
    with measured_peak(torch.device("cpu")) as peak:
        network(inputs).logsumexp(1).sum().backward()
    return peak.bytes


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("recompute", [False, True])
def test_the_peak_of_a_step(name: str, recompute: bool) -> None:
    """The peak per additional image, gradients of maps included, is within 15 % of the closed form."""
    architecture = replace(load(name).architecture, resolution=128)
    memory = network_memory(architecture)
    measured = peak_of_training(architecture, 4, recompute=recompute)
    measured -= peak_of_training(architecture, 3, recompute=recompute)
    assert measured / 4 == pytest.approx(memory.recomputing if recompute else memory.training, rel=0.15)


@pytest.mark.slow
@settings(max_examples=80)
@given(architectures)
def test_any_architecture(architecture: Architecture) -> None:
    memory = network_memory(architecture)
    with torch.device("meta"), torch.no_grad():
        assert memory.inference == peak_of_graph(architecture)
    assert memory.training == kept_by_autograd(architecture)


def test_layers_have_the_names_of_the_cost(space: StageSpace) -> None:
    for architecture in space.decode_indices(space.sample_indices(np.random.default_rng(0), 20)):
        assert [layer.name for layer in layer_memory(architecture)] == [
            layer.name for layer in layer_costs(architecture)
        ]
