"""Weights in the wrappers that other tools write them in, and networks of others that only look like ours."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines import load
from baselines.exchange.namings import NAMINGS
from baselines.exchange.weights import load_weights, save_weights
from baselines.registry import PACKAGED
from search_spaces import Architecture, MnasError
from search_spaces.network import Network, build_network

State = dict[str, Tensor]


def small(name: str = "mnasnet_small") -> Architecture:
    return replace(load(name).architecture, num_classes=5)


@pytest.fixture(scope="module")
def trained() -> Network:
    torch.manual_seed(3)
    return build_network(small())


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def moved(state: State) -> State:
    """Other weights under the same names."""
    return {name: tensor + 1 for name, tensor in state.items()}


def loaded(content: object, file: Path, **options: Any) -> tuple[State, list[str]]:
    """The state after loading a file with this content, and what was said."""
    torch.save(content, file)
    network, said = build_network(small()), list[str]()
    load_weights(network, file, tell=said.append, **options)
    return network.state_dict(), said


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("naming", ["mnas", "timm", "lukemelas", "torchvision"])
@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "model.", "net.", "backbone.",
     "encoder.model.backbone.", "0.", "student.net.", "model._fsdp_wrapped_module."],
)  # fmt: skip
def test_any_prefix(trained: Network, tmp_path: Path, naming: str, prefix: str) -> None:
    save_weights(trained, tmp_path / "plain.pth", naming)
    state = torch.load(tmp_path / "plain.pth", weights_only=True)
    found, said = loaded(prefixed(prefix, state), tmp_path / "c.pth")
    assert same(found, trained.state_dict())
    if prefix != "_orig_mod.":
        assert "weights taken from" in said[0]


WRAPPERS: dict[str, Callable[[State], object]] = {
    "model_state_dict": lambda state: {"model_state_dict": state, "epoch": 3, "loss": 0.1},
    "lightning": lambda state: {
        "epoch": 1, "pytorch-lightning_version": "2.4.0", "loops": {"fit": {}}, "callbacks": {},
        "state_dict": prefixed("model.", state), "optimizer_states": [{"state": {0: {"step": torch.ones(1)}}}],
        "lr_schedulers": [],
    },
    "lightning with a loss": lambda state: {
        "state_dict": {**prefixed("net.", state), "criterion.weight": torch.ones(5)}
    },
    "optimizer": lambda state: {"net": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "nested modules": lambda state: {"model": {"network": state}},
    "one dictionary for each part": lambda state: {
        part: {name.removeprefix(f"{part}."): tensor for name, tensor in state.items() if name.startswith(f"{part}.")}
        for part in ("stem", "stages", "head", "classifier")
    },
    "thop": lambda state: {
        **state, "total_ops": torch.zeros(1), "total_params": torch.zeros(1), "stem.total_ops": torch.ones(1),
        "stages.0.0.depthwise.0.total_params": torch.ones(1),
    },
    "thop inside a wrapper": lambda state: prefixed("module.", {**state, "head.0.total_ops": torch.ones(1)}),
    "the same weights twice": lambda state: {"state_dict": state, "model": prefixed("module.", state)},
}  # fmt: skip


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers(trained: Network, tmp_path: Path, wrapper: str) -> None:
    found, said = loaded(WRAPPERS[wrapper](trained.state_dict()), tmp_path / "c.pth")
    assert same(found, trained.state_dict())
    assert len(said) == (wrapper != "one dictionary for each part")


def test_what_was_left_aside_is_said(trained: Network, tmp_path: Path) -> None:
    content = WRAPPERS["lightning with a loss"](trained.state_dict())
    (line,) = loaded(content, tmp_path / "c.pth")[1]
    assert line == f"{tmp_path / 'c.pth'}: weights taken from 'state_dict.net'; left aside: criterion"
    (line,) = loaded(WRAPPERS["thop"](trained.state_dict()), tmp_path / "c.pth")[1]
    assert line.endswith("left aside: counters that are no weights")
    assert loaded(trained.state_dict(), tmp_path / "c.pth")[1] == []


BOTH: dict[str, Callable[[State, State], object]] = {
    "timm": lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema, "arch": "x"},
    "torchvision": lambda raw, ema: {
        "model": raw, "model_ema": {"n_averaged": torch.tensor(4), **prefixed("module.", ema)},
    },
    "ema": lambda raw, ema: {"model": raw, "ema": {"decay": 0.99, "shadow": ema}},
    "first": lambda raw, ema: {"ema_state_dict": ema, "model_state_dict": raw},
    "one dictionary": lambda raw, ema: {
        "state_dict": {**prefixed("model.", raw), **prefixed("model_ema.module.", ema)},
    },
    "lightning's": lambda raw, ema: {
        "state_dict": prefixed("model.", ema), "current_model_state": prefixed("model.", raw),
        "averaging_state": {"n_averaged": torch.tensor(2)},
    },
    "swa": lambda raw, ema: {"net": raw, "swa_model": {"n_averaged": torch.tensor(2), **prefixed("module.", ema)}},
}  # fmt: skip


@pytest.mark.parametrize("layout", BOTH)
def test_averaged_weights_are_taken_unless_raw_ones_are_asked_for(
    trained: Network, tmp_path: Path, layout: str
) -> None:
    raw, ema = trained.state_dict(), moved(trained.state_dict())
    content = BOTH[layout](raw, ema)
    for which, expected, words in (
        (None, ema, r"averaged weights taken from .*not the raw ones in .*--weights-of raw"),
        ("ema", ema, "averaged weights taken from"),
        ("raw", raw, r"raw weights taken from .*not the averaged ones in .*--weights-of ema"),
    ):
        found, said = loaded(content, tmp_path / "c.pth", weights_of=which)
        assert same(found, expected)
        assert re.search(words, said[0])


def test_weights_that_a_file_does_not_hold_are_refused(trained: Network, tmp_path: Path) -> None:
    state, file = trained.state_dict(), tmp_path / "c.pth"
    with pytest.raises(MnasError, match=r"c\.pth: weights_of: ema was asked for, but it holds only raw weights"):
        loaded({"schema_model": state}, file, weights_of="ema")
    with pytest.raises(MnasError, match="raw was asked for, but it holds only averaged weights"):
        loaded({"n_averaged": torch.tensor(5), **prefixed("module.", state)}, file, weights_of="raw")
    with pytest.raises(MnasError, match=r"'student' and 'teacher' both fit the network and differ"):
        loaded({"student": state, "teacher": moved(state)}, file)
    with pytest.raises(MnasError, match="unknown weights_of 'emma'"):
        loaded(state, file, weights_of="emma")


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "averaged, compiled": lambda network: torch.optim.swa_utils.AveragedModel(torch.compile(network)),
    "parallel, compiled": lambda network: torch.compile(nn.DataParallel(network)),
}  # type: ignore[dict-item]


@pytest.mark.parametrize("wrapper", [*WRAPPED, "compiled in part"])
@pytest.mark.parametrize("naming", ["mnas", "timm"])
def test_wrapped_networks_are_written_as_plain_ones_and_read_back(
    trained: Network, tmp_path: Path, wrapper: str, naming: str
) -> None:
    save_weights(trained, tmp_path / "plain.pth", naming)
    plain = torch.load(tmp_path / "plain.pth", weights_only=True)
    given = copy.deepcopy(trained)
    fresh = build_network(small())
    for network in (given, fresh):
        if wrapper == "compiled in part":
            network.stages[1] = torch.compile(network.stages[1])  # type: ignore[assignment]
            network.head = torch.compile(network.head)  # type: ignore[assignment]
    wrap = WRAPPED.get(wrapper, lambda network: network)
    save_weights(wrap(given), tmp_path / "wrapped.pth", naming)
    assert same(torch.load(tmp_path / "wrapped.pth", weights_only=True), plain)
    target = wrap(fresh)
    assert load_weights(target, tmp_path / "wrapped.pth", tell=lambda line: None) == naming
    mine = [tensor for name, tensor in target.state_dict().items() if name != "n_averaged"]
    assert all(torch.equal(a, b) for a, b in zip(mine, trained.state_dict().values(), strict=True))


class Foreign(nn.Module):
    """A module of somebody else, with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))
        self.layer = nn.Linear(3, 2)


def test_modules_of_others_keep_their_names(tmp_path: Path) -> None:
    first, second = Foreign(), Foreign()
    save_weights(torch.compile(first), tmp_path / "w.safetensors")  # type: ignore[arg-type]
    assert load_weights(second, tmp_path / "w.safetensors") == "its own"
    assert same(first.state_dict(), second.state_dict())


def signature(state: State, names: dict[str, str] | None = None) -> frozenset[tuple[str, tuple[int, ...]]]:
    def named(name: str) -> str:
        module, _, leaf = name.rpartition(".")
        return f"{names[module]}.{leaf}" if names else name

    return frozenset((named(name), tuple(tensor.shape)) for name, tensor in state.items())


@pytest.mark.slow
def test_every_network_of_timm_that_looks_like_ours_is_known(torchvision: Any, tmp_path: Path) -> None:
    """All networks of timm with the names and shapes of a spec: what differs in them is what is said on loading."""
    timm = pytest.importorskip("timm")
    ours: dict[Any, str] = {}
    with torch.device("meta"):
        for name in sorted(file.stem for file in PACKAGED.glob("*.yaml")):
            network = build_network(load(name).architecture)
            ours[signature(network.state_dict(), dict(NAMINGS["timm"].names(network.architecture)))] = name
    known = {"mnasnet_small": "skip in its first stage", "efficientnet_blur_b0": "blurs before each stride"}
    seen = set()
    for name in timm.list_models(module="efficientnet"):
        # B1 and later have B0's blocks, and take long to build.
        if not re.match(r"(tf_)?(efficientnet_(b0|lite0|blur)|mnasnet|semnasnet|mobilenetv2|tinynet)", name):
            continue
        with torch.device("meta"):
            theirs = timm.create_model(name)
        spec = ours.get(signature(theirs.state_dict()))
        if spec is None:
            continue
        seen.add(name)
        same_padding = any("Same" in type(module).__name__ for module in theirs.modules())
        tf = name.startswith("tf_")
        assert (theirs.bn1.eps, same_padding) == ((1e-3, True) if tf else (1e-5, False))
        architecture = load(spec).architecture
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=5).eval()
        torch.save(network.state_dict(), tmp_path / "theirs.pth")
        padding = "same" if tf else "symmetric"
        copied = build_network(replace(architecture, num_classes=5, bn_eps=network.bn1.eps, padding=padding)).eval()
        said: list[str] = []
        load_weights(copied, tmp_path / "theirs.pth", tell=said.append)
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            expected, found = network(images), copied(images)
        equal = bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())
        assert equal == (name not in known), name
        if not equal:
            assert known[name] in " ".join(said)
    assert {*known, "efficientnet_lite0", "tf_efficientnet_b0", "semnasnet_100", "tinynet_a"} <= seen


def test_timms_mnasnet_small_with_its_skip_is_ours(torchvision: Any, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("mnasnet_small", num_classes=5).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    net = replace(small(), bn_eps=1e-5)
    first = replace(net.stages[0], block=replace(net.stages[0].block, skip="identity"))
    ours, said = build_network(replace(net, stages=(first, *net.stages[1:]))).eval(), list[str]()
    load_weights(ours, tmp_path / "theirs.pth", tell=said.append)
    assert "skip" not in " ".join(said)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("name", "naming", "change", "said"),
    [
        ("efficientnet_b0", "torchvision", {}, "torchvision's B0 to B4 have 1e-05 and symmetric"),
        ("efficientnet_b0", "torchvision", {"bn_eps": 1e-5}, ""),
        ("efficientnet_b0", "lukemelas", {}, "its networks have 0.001 and same"),
        ("efficientnet_b0", "lukemelas", {"padding": "same"}, ""),
        ("mnasnet_b1", "torchvision-mnasnet", {}, "torchvision's networks have 1e-05 and symmetric"),
        ("mobilenet_v2", "torchvision-mobilenet", {}, ""),
        ("efficientnet_lite0", "timm", {}, "tf_ networks have 0.001 and same, timm's others have 1e-05 and symmetric"),
    ],
)
def test_what_tensors_do_not_show_is_said(
    tmp_path: Path, name: str, naming: str, change: dict[str, Any], said: str
) -> None:
    network = build_network(replace(small(name), **change))
    save_weights(network, tmp_path / "w.pth", naming)
    lines: list[str] = []
    load_weights(network, tmp_path / "w.pth", tell=lines.append)
    assert said in " ".join(lines)
    assert bool(lines) == bool(said)
