from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from baselines import load
from search_spaces import Architecture, ConvBlock, ConvLayer, MBConv, Stage, StageSpace, layer_costs
from search_spaces.adaptation import adapted
from search_spaces.layers import DepthwiseConv2d, DropConnect, MBConvBlock
from search_spaces.network import Network, build_network


@pytest.fixture(scope="module")
def network(b0: Architecture) -> Network:
    torch.manual_seed(0)
    return build_network(b0)


def mbconv_blocks(network: Network) -> list[MBConvBlock]:
    return [module for module in network.modules() if isinstance(module, MBConvBlock)]


def test_logits_have_the_stated_shape(network: Network) -> None:
    network.eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)


def test_every_layer_of_the_cost_is_a_module_with_its_parameters(b0: Architecture, network: Network) -> None:
    for layer in layer_costs(b0):
        module = network.get_submodule(layer.name)
        assert sum(parameter.numel() for parameter in module.parameters()) == layer.cost.params
    assert sum(layer.cost.params for layer in layer_costs(b0)) == sum(p.numel() for p in network.parameters())


def test_drop_connect_is_linear_in_the_block_index_and_only_on_skips(network: Network) -> None:
    # tensorflow/tpu efficientnet_model.py at 0.2: blocks with a skip, by index.
    published = {2: 0.025, 4: 0.05, 6: 0.075, 7: 0.0875, 9: 0.1125, 10: 0.125, 12: 0.15, 13: 0.1625, 14: 0.175}
    rates = {i: b.drop_connect.rate for i, b in enumerate(mbconv_blocks(network)) if b.drop_connect is not None}
    assert rates == pytest.approx(published)


def test_drop_connect_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = DropConnect(0.25)
    outputs = layer(torch.ones(20_000, 2, 2, 2))
    per_sample = outputs.flatten(1)
    assert per_sample.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (per_sample == per_sample[:, :1]).all()
    assert outputs.mean().item() == pytest.approx(1, abs=0.02)
    layer.eval()
    assert torch.equal(layer(torch.ones(3, 1, 1, 1)), torch.ones(3, 1, 1, 1))


def test_initialisation_is_the_published_one(network: Network) -> None:
    depthwise = next(
        m for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups == 480 and m.kernel_size == (5, 5)
    )
    # A depthwise kernel's fan-out is 5 * 5; PyTorch's own rule would give 0.0128.
    assert depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / 25), rel=0.02)
    head = network.get_submodule("head.0")
    assert head.weight.std().item() == pytest.approx(math.sqrt(2 / 1280), rel=0.02)
    bound = 1 / math.sqrt(1000)
    assert network.classifier.weight.abs().max().item() <= bound
    assert network.classifier.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not network.classifier.bias.any()


def test_training_starts_from_a_guess_for_any_number_of_classes(b0: Architecture) -> None:
    """The loss before the first step is that of a uniform guess, ln(classes)."""
    torch.manual_seed(0)
    inputs = torch.randn(32, 3, 64, 64)
    for classes in (10, 1000):
        network = build_network(replace(b0, resolution=64, num_classes=classes, dropout=0.0))
        loss = nn.functional.cross_entropy(network(inputs), torch.arange(32) % classes)
        assert loss.item() == pytest.approx(math.log(classes), rel=0.05)


def test_constants_of_batch_norm_and_dropout(network: Network) -> None:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 49
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    assert network.dropout.p == 0.2


def test_a_block_computes_the_published_formula() -> None:
    """Compares one block with the formula of tensorflow/tpu efficientnet_model.py, written out with functions."""
    torch.manual_seed(0)
    net = Architecture(8, 2, ConvLayer(8, 3, 1), (Stage(MBConv(3, 4, 0.25), 8, 1, 1),), ConvLayer(16, 1, 1))
    block = mbconv_blocks(build_network(net))[0].eval()
    x = torch.randn(2, 8, 8, 8)
    weights = dict(block.named_parameters())
    f = nn.functional

    def norm(value: torch.Tensor) -> torch.Tensor:  # a fresh batch norm: mean 0, variance 1
        return value / math.sqrt(1 + 1e-3)

    y = f.silu(norm(f.conv2d(x, weights["expand.0.weight"])))
    y = f.silu(norm(f.conv2d(y, weights["depthwise.0.weight"], padding=1, groups=32)))
    squeezed = y.mean((2, 3), keepdim=True)
    hidden = f.silu(f.conv2d(squeezed, weights["se.reduce.weight"], weights["se.reduce.bias"]))
    assert hidden.shape[1] == 2  # a quarter of the block's input, not of the expanded channels
    y = y * torch.sigmoid(f.conv2d(hidden, weights["se.expand.weight"], weights["se.expand.bias"]))
    y = norm(f.conv2d(y, weights["project.0.weight"])) + x
    torch.testing.assert_close(block(x), y)


def test_no_expansion_layer_at_ratio_1(network: Network) -> None:
    first, second = mbconv_blocks(network)[:2]
    assert isinstance(first.expand, nn.Identity)
    assert not isinstance(second.expand, nn.Identity)


def test_no_squeeze_excite_at_ratio_0(space: StageSpace) -> None:
    smallest = build_network(space.template)
    assert not [name for name, _ in smallest.named_parameters() if ".se." in name]


def test_a_small_network_fits_eight_images(b0: Architecture) -> None:
    """Gradients reach every parameter."""
    torch.manual_seed(0)
    stages = tuple(replace(stage, out_channels=8, num_layers=1) for stage in b0.stages[:3])
    net = replace(b0, stages=stages, num_classes=2, resolution=32, head=ConvLayer(16, 1, 1), dropout=0.0)
    network = build_network(net)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 2
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_kernels_larger_than_their_map_train_as_usual(kernel_size: int, side: int, stride: int) -> None:
    """Outputs and gradients in training are those of PyTorch's convolution."""
    torch.manual_seed(0)
    ours = DepthwiseConv2d(6, 6, kernel_size, stride, padding=kernel_size // 2, groups=6, bias=False)
    inputs = torch.randn(4, 6, side, side, requires_grad=True)
    outputs = ours(inputs)
    usual = torch.nn.functional.conv2d(inputs, ours.weight, None, stride, kernel_size // 2, groups=6)
    torch.testing.assert_close(outputs, usual)
    weights = torch.randn_like(outputs)
    found = torch.autograd.grad((outputs * weights).sum(), [inputs, ours.weight])
    expected = torch.autograd.grad((usual * weights).sum(), [inputs, ours.weight])
    torch.testing.assert_close(found, expected)


def test_a_network_that_keeps_its_resolution_keeps_its_stem(b0: Architecture) -> None:
    """At 48 px B0's stem has a stride of 2; adapted to images of 48 px it has 1."""
    small = replace(b0, resolution=48)
    assert adapted(small, num_classes=10).stem.stride == 2
    assert adapted(small, 48, 10).stem.stride == 1


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "efficientnet_lite0", "mnasnet_a1", "mnasnet_small", "mobilenet_v2"]
)
@pytest.mark.parametrize("side", [31, 64])
def test_torchscript_computes_what_eager_mode_does(name: str, side: int) -> None:
    """With squeeze-excite, SAME padding, drop-connect and every batch norm in training, and again in evaluation."""
    torch.manual_seed(0)
    architecture = replace(load(name).architecture, num_classes=5, drop_connect=0.3, dropout=0.3)
    network = build_network(architecture)
    scripted = torch.jit.script(copy.deepcopy(network))
    images = torch.randn(3, 3, side + 1, side)
    for training in (True, False):
        network.train(training)
        scripted.train(training)
        torch.manual_seed(1)
        expected = network(images)
        torch.manual_seed(1)
        torch.testing.assert_close(scripted(images), expected, rtol=1e-4, atol=1e-4)
        if training:
            expected.square().sum().backward()
            torch.manual_seed(1)
            torch.testing.assert_close(
                dict(network.named_buffers()), dict(scripted.named_buffers()), rtol=1e-4, atol=1e-4
            )


def test_a_scripted_network_with_pooled_skips_and_plain_blocks_is_kept_in_a_file(tmp_path: Path) -> None:
    stages = (
        Stage(ConvBlock(3, se_ratio=0.5, skip="identity"), 8, 2, 1),
        Stage(MBConv(5, 3, 0.25, skip="pool"), 8, 2, 2),
        Stage(MBConv(3, 1, 0.0, skip="none"), 8, 1, 1),
    )
    network = build_network(Architecture(16, 3, ConvLayer(8, 3, 2), stages, ConvLayer(16, 1, 1))).eval()
    torch.jit.script(network).save(str(tmp_path / "network.pt"))
    images = torch.randn(2, 3, 17, 19)
    torch.testing.assert_close(torch.jit.load(tmp_path / "network.pt")(images), network(images))
