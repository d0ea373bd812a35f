"""Networks as parts of other networks: feature maps, dilation, and other classifiers; timm's conventions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines import load
from baselines.exchange.weights import load_weights, save_weights
from search_spaces import Architecture, ConvBlock, ConvLayer, FieldError, MBConv, Stage, architecture_cost
from search_spaces.adaptation import adapted
from search_spaces.network import FeatureNetwork, Network, build_features, build_network

# timm's networks and the specs that have their layers; all have batch norm's ε at 1e-5, except those from TensorFlow.
PAIRS = {
    "efficientnet_b0": "efficientnet_b0",
    "tf_efficientnet_b0": "efficientnet_b0",
    "efficientnet_lite0": "efficientnet_lite0",
    "mobilenetv2_100": "mobilenet_v2",
    "semnasnet_100": "mnasnet_a1",
    "mnasnet_100": "mnasnet_b1",
    "tinynet_a": "tinynet_a",
}


def tiny(**change: Any) -> Architecture:
    """A network of two stages with maps at strides 2, 4 and 8, a pooled skip and a plain block."""
    stages = (
        Stage(ConvBlock(kernel_size=3), out_channels=8, num_layers=1, stride=2),
        Stage(MBConv(kernel_size=3, expand_ratio=2, se_ratio=0, skip="pool"), out_channels=16, num_layers=2, stride=2),
        Stage(MBConv(kernel_size=5, expand_ratio=2, se_ratio=0), out_channels=16, num_layers=1, stride=1),
    )
    given: dict[str, Any] = {
        "resolution": 32,
        "num_classes": 10,
        "stem": ConvLayer(8, 3, 2),
        "stages": stages,
        "head": ConvLayer(24, 1, 1),
        "activation": "relu",
    }
    return Architecture(**{**given, **change})


@pytest.fixture
def timm(torchvision: Any) -> Any:
    return pytest.importorskip("timm")


def close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


@pytest.mark.parametrize("output_stride", [None, 16, 8])
@pytest.mark.parametrize("name", PAIRS)
def test_feature_maps_are_those_of_timm(timm: Any, tmp_path: Path, name: str, output_stride: int | None) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=5)
    chosen = {} if output_stride is None else {"output_stride": output_stride}
    theirs = timm.create_model(name, features_only=True, **chosen).eval()
    theirs.load_state_dict(whole.state_dict(), strict=False)
    torch.save(whole.state_dict(), tmp_path / "theirs.pth")
    padding = "same" if name.startswith("tf_") else "symmetric"
    architecture = replace(load(PAIRS[name]).architecture, num_classes=5, bn_eps=whole.bn1.eps, padding=padding)
    ours, said = build_features(architecture, output_stride=output_stride).eval(), list[str]()
    load_weights(ours, tmp_path / "theirs.pth", tell=said.append)
    assert "left aside" in said[0]
    assert "head, classifier" in said[0]
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    images = torch.randn(1, 3, 97, 64)
    with torch.no_grad():
        pairs = list(zip(ours(images), theirs(images), strict=True))
    assert all(close(found, expected) for found, expected in pairs)


@pytest.mark.parametrize("output_stride", [None, 16, 8])
def test_the_last_map_and_the_logits_of_a_dilated_network_are_those_of_timm(
    timm: Any, tmp_path: Path, output_stride: int | None
) -> None:
    torch.manual_seed(0)
    chosen = {} if output_stride is None else {"output_stride": output_stride}
    theirs = timm.create_model("efficientnet_b0", num_classes=5, **chosen).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    architecture = replace(load("efficientnet_b0").architecture, num_classes=5, bn_eps=1e-5)
    ours = build_network(architecture, output_stride).eval()
    load_weights(ours, tmp_path / "theirs.pth")
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert close(ours.forward_features(images), theirs.forward_features(images))
        assert close(ours(images), theirs(images))


@pytest.mark.parametrize("indices", [(0, 2), (4,), (-1,), (3, 1), (-2, 0)])
def test_maps_are_chosen_as_in_timm(timm: Any, indices: tuple[int, ...]) -> None:
    theirs = timm.create_model("efficientnet_b0", features_only=True, out_indices=sorted(i % 5 for i in indices))
    ours = build_features(load("efficientnet_b0").architecture, indices).eval()
    expected = dict(zip(sorted(i % 5 for i in indices), theirs.feature_info.channels(), strict=True))
    assert ours.feature_info.channels() == [expected[i % 5] for i in indices]
    with torch.no_grad():
        maps = ours(torch.zeros(1, 3, 64, 64))
    assert [found.shape[1] for found in maps] == ours.feature_info.channels()
    assert [64 // found.shape[2] for found in maps] == ours.feature_info.reduction()
    # Nothing is built that no map needs.
    assert len(ours.stages) == {0: 0, 1: 2, 2: 3, 3: 5, 4: 7}[max(i % 5 for i in indices)]


def test_a_number_stands_for_the_last_maps() -> None:
    net = load("efficientnet_b0").architecture
    assert build_features(net, 2).feature_info.out_indices == (3, 4)
    assert build_features(net, 5).feature_info.out_indices == build_features(net).feature_info.out_indices


@pytest.mark.parametrize("output_stride", [2, 4, 8])
def test_a_dilated_network_sees_what_the_network_with_strides_sees(output_stride: int) -> None:
    """Without squeeze-excite, every pixel that the strides keep is that of the dilated map at the same place."""
    torch.manual_seed(0)
    plain = build_network(tiny()).eval()
    dilated = build_network(tiny(), output_stride).eval()
    dilated.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        small, large = plain.forward_features(images), dilated.forward_features(images)
    factor = 8 // output_stride
    assert large.shape == (2, 24, 32 // output_stride, 32 // output_stride)
    torch.testing.assert_close(large[:, :, ::factor, ::factor], small)


def test_a_dilated_network_costs_what_its_strides_say() -> None:
    net = load("efficientnet_b0").architecture
    flat = replace(net, stages=tuple(replace(s, stride=1) if i >= 5 else s for i, s in enumerate(net.stages)))
    network = build_network(net, 16).eval()
    sides: dict[str, int] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, output, name=name: sides.__setitem__(name, output.shape[-1]))
    with torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    weights = dict(network.named_parameters())
    macs = sum(weights[f"{name}.weight"].numel() * side**2 for name, side in sides.items())
    assert macs + weights["classifier.weight"].numel() == architecture_cost(flat).macs


@pytest.mark.parametrize("recompute", [False, True])
def test_features_and_classifier_make_the_logits(recompute: bool) -> None:
    torch.manual_seed(0)
    network = build_network(tiny(dropout=0.0, drop_connect=0.0)).train()
    network.recompute = recompute
    images = torch.randn(2, 3, 32, 32)
    features = network.forward_features(images)
    assert features.shape == (2, 24, 4, 4)
    torch.testing.assert_close(network.classifier(features.mean((2, 3))), network(images))


def test_a_new_classifier_keeps_the_rest() -> None:
    torch.manual_seed(0)
    network = build_network(tiny()).double().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if "classifier" not in name}
    network.reset_classifier(3)
    assert network.architecture == tiny(num_classes=3)
    assert network(torch.zeros(2, 3, 32, 32, dtype=torch.float64)).shape == (2, 3)
    after = {name: tensor for name, tensor in network.state_dict().items() if "classifier" not in name}
    torch.testing.assert_close(after, before)
    network.reset_classifier(0)
    images = torch.zeros(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(network(images), network.forward_features(images).mean((2, 3)))
    network.reset_classifier(7)
    assert network(images).shape == (2, 7)


def test_weights_of_a_network_load_into_its_parts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(tiny()).eval()
    save_weights(network, tmp_path / "w.safetensors")
    images = torch.randn(1, 3, 32, 32)
    first, second = build_features(tiny(), 1).eval(), build_features(tiny(), (0, 1)).eval()
    load_weights(first, tmp_path / "w.safetensors")
    said: list[str] = []
    load_weights(second, tmp_path / "w.safetensors", tell=said.append)
    assert said[0].endswith("no such layers: stages.1, stages.2, head, classifier")
    with torch.no_grad():
        torch.testing.assert_close(network.head(first(images)[0]), network.forward_features(images))
        torch.testing.assert_close(second(images)[0], network.stem(images))
    headless = build_network(tiny())
    headless.reset_classifier(0)
    load_weights(headless, tmp_path / "w.safetensors")
    # As a part of a module, by PyTorch alone.
    whole = nn.ModuleDict({"backbone": build_features(tiny(), (0,))})
    whole.load_state_dict({f"backbone.{name}": tensor for name, tensor in network.state_dict().items()})
    torch.testing.assert_close(whole["backbone"].state_dict()["stem.0.weight"], network.stem[0].weight)
    with pytest.raises(RuntimeError, match="Missing key"):
        second.load_state_dict({"stem.0.weight": network.stem[0].weight})


def test_parts_are_scripted_and_train() -> None:
    torch.manual_seed(0)
    features = build_features(tiny(), (2, 0), output_stride=4).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = features(images)
        found = torch.jit.script(features)(images)  # type: ignore[attr-defined]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    features.train()(images)[0].sum().backward()
    assert features.stem[0].weight.grad is not None


def test_a_tiny_image_keeps_its_maps() -> None:
    """`adapted` takes strides from the table, so there are fewer maps, and their reductions say so."""
    features = build_features(adapted(load("efficientnet_b0").architecture, resolution=32))
    assert features.feature_info.reduction() == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"output_stride": 12}, "output_stride: 12 is not one of 2, 4, 8, 16, 32"),
        ({"output_stride": True}, "output_stride: True is not one of"),
        ({"output_stride": "8"}, "output_stride: '8' is not one of"),
        ({"out_indices": ()}, "out_indices: () names no feature map; expected indices from -3 to 2"),
        ({"out_indices": (3,)}, "out_indices[0]"),
        ({"out_indices": (0, -4)}, "out_indices[1]"),
        ({"out_indices": (0.5,)}, "out_indices[0]"),
        ({"out_indices": 0}, "out_indices"),
        ({"out_indices": 4}, "out_indices"),
    ],
)
def test_what_no_part_has_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError, match=re.escape(message)):
        build_features(tiny(), **given)


@pytest.mark.parametrize("count", [-1, True, 2.0])
def test_no_number_of_classes_is_refused(count: Any) -> None:
    with pytest.raises(FieldError, match="num_classes"):
        build_network(tiny()).reset_classifier(count)


def test_what_is_known_of_maps_has_timms_keys() -> None:
    info = build_features(tiny(), (2, 0)).feature_info
    assert len(info) == 3
    assert info[1] == {"index": 1, "num_chs": 8, "reduction": 4, "module": "stages.0"}
    assert info.module_name() == ["stages.2", "stem"]
    assert info.get_dicts(("reduction",)) == [{"reduction": 8}, {"reduction": 2}]
    assert isinstance(build_features(tiny()), FeatureNetwork)
    assert not isinstance(build_features(tiny()), Network)
