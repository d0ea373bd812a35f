"""Formats of other projects: nothing is lost, and timm itself builds the same network from ours."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

from baselines import load, names
from baselines.exchange.formats import FORMATS, export_architecture, import_architecture, padding_note
from baselines.exchange.weights import load_weights, save_weights
from baselines.registry import PACKAGED
from search_spaces import Architecture, ConvBlock, FieldError, MnasError, Stage, StageSpace, architecture_cost
from search_spaces.network import build_network
from tests.search_spaces.strategies import architectures

ROWS = "inverted_residual_setting"
ROW = {"expand_ratio": 1, "kernel": 3, "stride": 1, "input_channels": 32, "out_channels": 16, "num_layers": 1}
SPECS = sorted(file.stem for file in PACKAGED.glob("*.yaml"))


def through(architecture: Architecture, name: str) -> Architecture:
    document = json.loads(json.dumps(export_architecture(architecture, name)))
    return import_architecture(document, name)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_spec_survives_a_round_trip(name: str) -> None:
    assert set(SPECS) <= set(names())
    for spec in SPECS:
        architecture = load(spec).architecture
        assert through(architecture, name) == architecture


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_thousand_members_survive_a_round_trip(name: str, space: StageSpace) -> None:
    members = space.decode_indices(space.sample_indices(np.random.default_rng(0), 1000))
    assert [through(member, name) for member in members] == members


@pytest.mark.parametrize("name", sorted(FORMATS))
@settings(max_examples=150)
@given(architecture=architectures)
def test_any_architecture_survives_a_round_trip_or_is_refused_by_field(name: str, architecture: Architecture) -> None:
    try:
        assert through(architecture, name) == architecture
    except FieldError as error:
        assert error.path
        assert "\n" not in str(error)


@settings(max_examples=100)
@given(architecture=architectures)
def test_timm_supports_all_but_pool_skips_rounded_channels_and_other_stems_and_heads(
    architecture: Architecture,
) -> None:
    assume(all(stage.block.skip != "pool" for stage in architecture.stages))
    net = replace(
        architecture,
        stages=tuple(replace(stage, block=replace(stage.block, se_ratio=0.0)) for stage in architecture.stages),
        stem=replace(architecture.stem, stride=2),
        head=replace(architecture.head, kernel_size=1, stride=1),
    )
    expanded = [block.hidden_channels for block in net.blocks if getattr(block.block, "expand_ratio", 1) > 1]
    if any(hidden % 8 for hidden in expanded):
        with pytest.raises(FieldError, match=r"stages\[\d\]\.expand_ratio: \d+ expanded channels are no multiple of 8"):
            through(net, "timm")
    else:
        assert through(net, "timm") == net


def test_published_strings() -> None:
    # tensorflow/tpu mnasnet_models.py (mnasnet_a1), efficientnet_builder.py; timm's are those of its efficientnet.py.
    a1, b0 = load("mnasnet_a1").architecture, load("efficientnet_b0").architecture
    assert export_architecture(a1, "tf")["blocks_args"] == [
        "r1_k3_s11_e1_i32_o16_noskip",
        "r2_k3_s22_e6_i16_o24",
        "r3_k5_s22_e3_i24_o40_se0.25",
        "r4_k3_s22_e6_i40_o80",
        "r2_k3_s11_e6_i80_o112_se0.25",
        "r3_k5_s22_e6_i112_o160_se0.25",
        "r1_k3_s11_e6_i160_o320",
    ]
    assert export_architecture(b0, "timm")["arch_def"] == [
        ["ds_r1_k3_s1_e1_c16_se0.25"],
        ["ir_r2_k3_s2_e6_c24_se0.25"],
        ["ir_r2_k5_s2_e6_c40_se0.25"],
        ["ir_r3_k3_s2_e6_c80_se0.25"],
        ["ir_r3_k5_s1_e6_c112_se0.25"],
        ["ir_r4_k5_s2_e6_c192_se0.25"],
        ["ir_r1_k3_s1_e6_c320_se0.25"],
    ]
    # The published B0 of torchvision, with only its own arguments.
    rows = [
        (1, 3, 1, 32, 16, 1),
        (6, 3, 2, 16, 24, 2),
        (6, 5, 2, 24, 40, 2),
        (6, 3, 2, 40, 80, 3),
        (6, 5, 1, 80, 112, 3),
        (6, 5, 2, 112, 192, 4),
        (6, 3, 1, 192, 320, 1),
    ]
    keys = ("expand_ratio", "kernel", "stride", "input_channels", "out_channels", "num_layers")
    document = {"inverted_residual_setting": [dict(zip(keys, row, strict=True)) for row in rows], "dropout": 0.2}
    assert import_architecture(document, "torchvision") == replace(b0, bn_eps=1e-5, bn_momentum=0.1)


@pytest.fixture(scope="module")
def timm(torchvision: Any) -> Any:
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed; make test puts it into .peers")
    import timm.models._efficientnet_builder as builder
    from timm.models.efficientnet import EfficientNet

    def build(document: dict[str, Any]) -> torch.nn.Module:
        own = {key: value for key, value in document.items() if key not in ("arch_def", "img_size")}
        norm = {"eps": own.pop("bn_eps"), "momentum": own.pop("bn_momentum")}
        from functools import partial

        made: torch.nn.Module = EfficientNet(
            builder.decode_arch_def(document["arch_def"]),
            norm_layer=partial(torch.nn.BatchNorm2d, **norm),
            round_chs_fn=partial(builder.round_channels, multiplier=0),
            **own,
        )
        return made.eval()

    return build


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "efficientnet_b2", "efficientnet_lite1", "mnasnet_a1", "mobilenet_v2", "plain"]
)
def test_timm_builds_the_same_network(timm: Any, tmp_path: Path, name: str) -> None:
    b0 = load("efficientnet_b0").architecture
    plain = Stage(ConvBlock(kernel_size=3), out_channels=16, num_layers=2, stride=1)
    architecture = replace(b0, stages=(plain, *b0.stages[1:3])) if name == "plain" else load(name).architecture
    torch.manual_seed(0)
    theirs = timm(export_architecture(architecture, "timm"))
    assert sum(parameter.numel() for parameter in theirs.parameters()) == architecture_cost(architecture).params
    ours = build_network(architecture).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    assert load_weights(ours, tmp_path / "theirs.pth") == "timm"
    images = torch.randn(2, 3, 97, 97)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    save_weights(ours, tmp_path / "ours.pth", "timm")
    theirs.load_state_dict(torch.load(tmp_path / "ours.pth", weights_only=True))


LITE = [f"efficientnet_lite{number}" for number in range(5)]


@pytest.mark.parametrize("name", LITE)
def test_lite_networks_of_timm_without_tf(timm: Any, tmp_path: Path, name: str) -> None:
    """Their padding and epsilon are not those of the released networks; with both, logits are timm's own."""
    import timm.models.efficientnet as zoo

    torch.manual_seed(0)
    theirs, released = getattr(zoo, name)().eval(), load(name).architecture
    document = export_architecture(released, "timm")
    for key in ("pad_type", "bn_eps", "bn_momentum"):
        del document[key]
    found = import_architecture({**document, "num_classes": theirs.num_classes}, "timm")
    assert (found.padding, found.bn_eps) == ("symmetric", 1e-5)
    ours = build_network(found).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    load_weights(ours, tmp_path / "theirs.pth")
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        expected, logits = theirs(images), ours(images)
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", [*LITE, "efficientnet_b0", "mobilenet_v2", "mnasnet_a1", "tinynet_c"])
@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_packaged_network_with_the_other_padding_is_named(name: str, form: str) -> None:
    packaged = load(name).architecture
    assert padding_note(through(packaged, form)) is None
    other = replace(packaged, padding={"same": "symmetric", "symmetric": "same"}[packaged.padding], num_classes=7)
    note = padding_note(through(other, form))
    assert note is not None
    assert note.startswith(f"Padding: {other.padding}, as in ")
    assert f"; {name} has {packaged.padding}, as in " in note
    assert padding_note(replace(other, stem=replace(other.stem, out_channels=72))) is None


# What a document of timm may say besides, changing nothing, and what it may say that networks do not have here.
SAME_FOR_TIMM: list[dict[str, Any]] = [
    {"in_chans": 3, "output_stride": 32, "global_pool": "avg", "fix_stem": True},
    {"fix_stem": False, "norm_layer": None, "se_layer": None, "aa_layer": None},
    {"norm_layer": "BatchNorm2d", "se_layer": "SqueezeExcite", "round_chs_fn": "round_channels"},
    {"channel_multiplier": 1.0, "depth_multiplier": 1, "experts_multiplier": 1, "group_size": None},
    {"norm_layer": "batchnorm", "output_stride": 64},
]


@pytest.mark.parametrize("added", SAME_FOR_TIMM)
def test_arguments_of_timm_that_say_what_networks_have(added: dict[str, Any]) -> None:
    for name in ("efficientnet_b0", "efficientnet_lite2", "mnasnet_a1"):
        architecture = load(name).architecture
        document = export_architecture(architecture, "timm")
        assert not set(added) & set(document)
        assert import_architecture({**document, **added}, "timm") == architecture


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"in_chans": 0}, "in_channels: 0 is not an integer from 1 to 1024"),
        ({"in_chans": "RGB"}, "in_chans: 'RGB' is not an integer"),
        ({"output_stride": 16}, r"output_stride: 16 cannot be imported: networks have their strides \(32\)"),
        ({"norm_layer": "groupnorm"}, "norm_layer: 'groupnorm' cannot be imported: networks have batch norm"),
        ({"aa_layer": "blurpc"}, "aa_layer: 'blurpc' cannot be imported: networks have no blur"),
        ({"se_layer": "eca"}, "se_layer: 'eca' cannot be imported: networks have timm's SqueezeExcite"),
        ({"round_chs_fn": "mine"}, "round_chs_fn: 'mine' cannot be imported"),
        ({"round_chs_fn": "round_channels", "stem_size": 30}, r"stem\.out_channels: 30 is not a multiple of 8"),
        ({"global_pool": "max"}, "global_pool: 'max' cannot be imported: networks have average pooling"),
        ({"channel_multiplier": 1.1}, r"channel_multiplier: 1\.1 cannot be imported"),
        ({"depth_multiplier": 1.2}, r"depth_multiplier: 1\.2 cannot be imported"),
        ({"group_size": 8}, "group_size: 8 cannot be imported: networks have depthwise convolutions"),
    ],
)
def test_arguments_of_timm_that_networks_do_not_have(added: dict[str, Any], message: str) -> None:
    document = export_architecture(load("efficientnet_b0").architecture, "timm")
    with pytest.raises(FieldError, match=message) as error:
        import_architecture({**document, **added}, "timm")
    assert "\n" not in str(error.value)


WORDS = {
    "ir": (["a1", "p1", "fc0", "d0", "gs1", "nsw"], ["a3", "p3", "fc24", "d1", "cc4", "gs8", "gs0", "nre", "nxx"]),
    "ds": (["a1", "p1", "d0", "gs1", "nsw"], ["p3", "d1", "gs8", "nhs", "nr6"]),
    "cn": (["gs0", "nsw", "e1", "p1"], ["gs1", "gs8", "nmi"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", WORDS)
def test_words_of_block_strings(timm: Any, kind: str) -> None:
    """Words that are accepted change nothing in timm's network either."""
    plain = {"ir": "ir_r2_k3_s1_e6_c16", "ds": "ds_r2_k3_s1_c16", "cn": "cn_r2_k3_s1_c16_skip"}[kind]
    base = {"arch_def": [[plain]], "act_layer": "swish", "bn_eps": 1e-3, "bn_momentum": 0.1, "img_size": 32}
    expected, shapes = import_architecture(base, "timm"), [tuple(p.shape) for p in timm(base).parameters()]
    same, others = WORDS[kind]
    for word in same:
        document = {**base, "arch_def": [[f"{plain}_{word}"]]}
        assert import_architecture(document, "timm") == expected
        network = timm(document)
        assert [tuple(parameter.shape) for parameter in network.parameters()] == shapes
        assert str(network.blocks) == str(timm(base).blocks)
    for word in others:
        with pytest.raises(FieldError, match=rf"arch_def\[0\]\[0\]: {word} in .* cannot be imported: networks have"):
            import_architecture({**base, "arch_def": [[f"{plain}_{word}"]]}, "timm")


@pytest.mark.parametrize(("channels", "ratio"), [(20, 3), (12, 3), (20, 6), (12, 6), (28, 3), (24, 5), (12, 2)])
def test_channels_that_timm_would_round(timm: Any, channels: int, ratio: int) -> None:
    strings = [[f"ds_r1_k3_s1_c{channels}"], [f"ir_r1_k3_s1_e{ratio}_c16"]]
    document = {"arch_def": strings, "bn_eps": 1e-3, "bn_momentum": 0.1, "act_layer": "relu", "img_size": 32}
    theirs = sum(parameter.numel() for parameter in timm(document).parameters())
    if channels * ratio % 8:
        with pytest.raises(FieldError, match=r"stages\[1\]\.expand_ratio: \d+ expanded channels are no multiple of 8"):
            import_architecture(document, "timm")
    else:
        assert architecture_cost(import_architecture(document, "timm")).params == theirs


@pytest.mark.parametrize("letter", "abcde")
def test_our_tinynets_are_those_of_timm(timm: Any, tmp_path: Path, letter: str) -> None:
    """timm's own definition of the network, with its weights in ours: the same outputs."""
    import timm.models.efficientnet as zoo

    torch.manual_seed(0)
    theirs = getattr(zoo, f"tinynet_{letter}")().eval()
    architecture = load(f"tinynet_{letter}").architecture
    assert architecture.resolution == theirs.default_cfg["input_size"][-1]
    assert architecture_cost(architecture).params == sum(parameter.numel() for parameter in theirs.parameters())
    ours = build_network(replace(architecture, bn_eps=theirs.bn1.eps)).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    assert load_weights(ours, tmp_path / "theirs.pth") == "timm"
    images = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("timm", {"arch_def": [["ir_r2_k3_s2_e6"]]}, r"arch_def\[0\]\[0\]: c is missing"),
        ("timm", {"arch_def": [["ir_r2_k3_s2_e6_c24_q3"]]}, r"arch_def\[0\]\[0\]: 'q3' in .* is unknown"),
        ("timm", {"arch_def": [["ir_r2_k3_s2_e6_c24_k5"]]}, r"arch_def\[0\]\[0\]: k is given twice"),
        ("timm", {"arch_def": [["er_r2_k3_s2_e6_c24"]]}, r"arch_def\[0\]\[0\]: unknown timm block 'er'"),
        ("timm", {"arch_def": [["ir_r2_k3_s2_e1_c24"]]}, r"arch_def\[0\]\[0\]: ir with e1 has a 1x1 convolution"),
        ("timm", {"arch_def": [["ds_r2_k3_s2_e6_c24"]]}, r"arch_def\[0\]\[0\]: e6 in a block of kind 'ds'"),
        ("timm", {"arch_def": [["ir_r2_k4_s2_e6_c24"]]}, r"arch_def\[0\]\[0\]\.kernel_size: 4 is not an odd"),
        ("timm", {"arch_def": [["ir_r2_k3_s2_e6_c24.5"]]}, r"channels 24\.5: expected a whole number after channels"),
        ("timm", {"arch_def": [["ir_r2_k3_s2_e6_c0"]]}, r"arch_def\[0\]\[0\]\.out_channels: 0 is not an integer"),
        ("timm", {"arch_def": [["ir_r2_k3_s2_e6_c24_skip"]]}, r"arch_def\[0\]\[0\]: 'skip' in .* is unknown"),
        ("torchvision", {ROWS: [dict(ROW, expand_ratio=float("nan"))]}, "expand_ratio: nan: expected a whole number"),
        ("torchvision", {ROWS: [dict(ROW, expand_ratio=1.5)]}, r"expand_ratio: 1\.5: expected a whole number"),
        ("timm", {"arch_def": [["ds_r1_k3_s1_e1_c16"]] * 101}, "stages: 101 stages are more than 100"),
        ("timm", {"arch_def": "ir_r2"}, "arch_def: 'ir_r2' is not a list"),
        ("timm", {"arch_df": []}, "arch_df: unknown field 'arch_df'; did you mean 'arch_def'"),
        ("timm", {"img_size": 16}, "resolution: 16 is smaller than the network's total stride"),
        ("timm", {"pad_type": "valid"}, "pad_type: 'valid': expected '' or 'same'"),
        ("tf", {"blocks_args": ["r1_k3_s11_e1_i16_o16"]}, r"blocks_args\[0\]: 16 input channels must equal the 32"),
        ("tf", {"blocks_args": ["r1_k3_s12_e1_i32_o16"]}, r"blocks_args\[0\]: s12: expected the same stride twice"),
        ("tf", {"width_coefficient": 1.1}, r"width_coefficient: 1\.1 must be 1; import the unscaled network"),
        ("torchvision", {"inverted_residual_setting": []}, "inverted_residual_setting: .*expected one or more rows"),
        ("torchvision", {"inverted_residual_setting": [{"kernel": 3}]}, r"setting\[0\]\.expand_ratio: missing"),
        ("timn", {}, "unknown format 'timn'; did you mean 'timm'"),
    ],
)  # fmt: skip
def test_wrong_documents_give_one_line(name: str, change: dict[str, Any], message: str) -> None:
    document = export_architecture(load("efficientnet_b0").architecture, name) if name in FORMATS else {}
    with pytest.raises(MnasError, match=message) as error:
        import_architecture({**document, **change}, name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "timm",
            {"skip": "pool"},
            r"stages\[2\]\.skip: the format timm cannot express pool, only identity",
        ),
        ("tf", {"skip": "pool"}, r"stages\[2\]\.skip: the format tf cannot express pool"),
    ],
)
def test_what_cannot_be_expressed_is_refused(name: str, change: dict[str, Any], message: str) -> None:
    b0 = load("efficientnet_b0").architecture
    block = replace(b0.stages[2].block, **change)
    stages = (*b0.stages[:2], replace(b0.stages[2], block=block), *b0.stages[3:])
    with pytest.raises(FieldError, match=message):
        export_architecture(replace(b0, stages=stages), name)
    plain = Stage(ConvBlock(3), 16, 1, 1)
    for other in ("tf", "torchvision"):
        with pytest.raises(FieldError, match=r"stages\[0\]\.op: .* cannot express a plain convolution"):
            export_architecture(replace(b0, stages=(plain, *b0.stages[1:])), other)
    # Their code would round the channels, or the width of squeeze-excite, and build another network.
    odd = replace(b0, stages=(replace(b0.stages[0], out_channels=20), *b0.stages[1:]))
    for other in ("tf", "torchvision"):
        with pytest.raises(FieldError, match=r"stages\[0\]\.out_channels: 20 is not a multiple of 8"):
            export_architecture(odd, other)
    narrow = replace(b0.stages[2], block=replace(b0.stages[2].block, se_ratio=0.0625))
    with pytest.raises(FieldError, match=r"stages\[2\]\.se_ratio: 0\.0625 of 24 channels is rounded differently"):
        export_architecture(replace(b0, stages=(*b0.stages[:2], narrow, *b0.stages[3:])), "timm")
    gated = Stage(ConvBlock(3, se_ratio=0.25), 16, 1, 1)
    with pytest.raises(FieldError, match=r"stages\[0\]\.se_ratio: timm cannot express squeeze-excite"):
        export_architecture(replace(b0, stages=(gated, *b0.stages[1:])), "timm")
    for other in FORMATS:
        with pytest.raises(FieldError, match=r"head\.stride: the format \w+ cannot express 2"):
            export_architecture(replace(b0, head=replace(b0.head, stride=2)), other)


@pytest.mark.parametrize(
    ("name", "field", "theirs", "ours"),
    [
        ("timm", "act_layer", "silu", "swish"),
        ("timm", "act_layer", "hard_swish", "hard_swish"),
        ("timm", "act_layer", "swish", "swish"),
        ("tf", "relu_fn", "silu", "swish"),
        ("torchvision", "activation", "SiLU", "swish"),
        ("timm", "act_layer", "hardswish", "hard_swish"),
    ],
)
def test_activations_by_their_other_names(name: str, field: str, theirs: str, ours: str) -> None:
    document = export_architecture(load("efficientnet_b0").architecture, name)
    assert import_architecture({**document, field: theirs}, name).activation == ours
    with pytest.raises(FieldError, match=rf"{field}: 'silo': expected one of .*silu"):
        import_architecture({**document, field: "silo"}, name)


@pytest.mark.parametrize("survival", [1.0, 0.8, 0.7, 0.5, 0.95])
def test_the_survival_probability_of_tensorflow(survival: float) -> None:
    document = export_architecture(load("efficientnet_b0").architecture, "tf")
    del document["drop_connect_rate"]
    found = import_architecture({**document, "survival_prob": survival}, "tf")
    assert found.drop_connect == pytest.approx(1 - survival)
    with pytest.raises(FieldError, match=r"survival_prob: .* contradicts drop_connect_rate: 0\.4"):
        import_architecture({**document, "survival_prob": survival, "drop_connect_rate": 0.4}, "tf")
