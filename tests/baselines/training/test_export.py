"""A trained network becomes a file that knows its classes."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from baselines.comparators import load_comparator
from baselines.exchange.precision import OnnxOptions
from baselines.exchange.runtimes import export_onnx
from baselines.exchange.weights import save_weights
from baselines.registry import load
from baselines.training.augment import normalised
from baselines.training.classify import predict
from baselines.training.data.sources import load_data
from baselines.training.evaluate import evaluate
from baselines.training.export import Exported, Measured, Source, export_network
from baselines.training.folder import WEIGHTS, create_training, load_training_data, read_training, trained_network
from baselines.training.recipe import load_recipe
from baselines.training.settings import TrainingSettings
from baselines.views.export import text
from baselines.views.terminal import show
from nas.__main__ import main
from search_spaces import MnasError
from search_spaces.adaptation import adapted
from search_spaces.network import build_network
from tests.baselines.training.images import COLOURS, small, write_folders, write_training


def metadata(file: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_metadata_of_a_training(workplace: Path, capsys: pytest.CaptureFixture[str], fit: str) -> None:
    write_training(Path("t"), side=40, fit=fit)
    assert main(["export", "t", "--format", "onnx"]) == 0
    shown = capsys.readouterr().out
    assert "the weights of t" in shown
    assert "Next: mnas predict tiny.onnx --images …" in shown
    found = metadata(Path("tiny.onnx"))
    # ImageNet's constants, as every published network of the family has them.
    assert json.loads(found["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(found["std"]) == [0.229, 0.224, 0.225]
    assert (json.loads(found["classes"]), found["side"], found["fit"]) == (list(COLOURS), "40", fit)


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ([], True),
        (["--weights", "t/weights.safetensors"], True),
        (["--weights", "t/weights.safetensors", "--keep-classifier"], False),
    ],
)
def test_classes_are_known_unless_the_classifier_is_fresh(workplace: Path, options: list[str], known: bool) -> None:
    write_training(Path("t"))
    assert main(["export", "t", "--format", "onnx", "--out", "net.onnx", *options]) == 0
    assert ("classes" in metadata(Path("net.onnx"))) == known


def test_a_spec_has_no_classes(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_training(Path("t"))
    assert main(["export", "t/spec.yaml", "--format", "onnx", "--weights", "t/weights.safetensors"]) == 0
    assert "predict" not in capsys.readouterr().out
    assert "classes" not in metadata(Path("tiny.onnx"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unfinished"], "training: unfinished is not complete; resume it with: mnas train --resume unfinished"),
        (["t", "--keep-classifier"], "keep_classifier: there are no weights to choose from; use --weights FILE"),
        (["t", "--weights-of", "raw"], "weights_of: there are no weights to choose from; use --weights FILE"),
        (["torchvision:resnet18"], "torchvision:resnet18: networks of torchvision have no spec; train it, and export"),
        (["nothing/here"], "nothing/here"),
    ],
)
@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_what_cannot_be_exported(
    workplace: Path, runtime: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training(Path("t"))
    (write_training(Path("unfinished")) / WEIGHTS).unlink()
    before = set(Path().iterdir())
    assert main(["export", *arguments, "--format", runtime]) == 2
    assert capsys.readouterr().err.startswith(f"mnas: {message}")
    assert set(Path().iterdir()) == before


@pytest.mark.slow
def test_a_network_of_torchvision(workplace: Path, torchvision: Any) -> None:
    subject = load_comparator("torchvision:mobilenet_v3_small").adapted(32, 3)
    torch.manual_seed(1)
    settings = TrainingSettings(
        "images", load_recipe("proxy"), classes=tuple(COLOURS), network=subject.name, resolution=32
    )
    create_training(Path("t"), subject, settings)
    save_weights(subject.build(), Path("t") / WEIGHTS)
    assert export_network("t", "onnx").file == Path("torchvision-mobilenet_v3_small.onnx")
    images = write_folders(Path("images"), count=3)
    one, other = predict("t", [images]), predict("torchvision-mobilenet_v3_small.onnx", [images])
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)


def test_the_function_says_what_it_did(workplace: Path) -> None:
    found = export_network(str(write_training(Path("t"))), "torch", Path("net.pt2"))
    assert found.file.is_file()
    assert found.difference <= 1e-5
    assert (found.signature, found.source.weights) == (None, "the weights of t")
    with pytest.raises(MnasError, match=r"out: net\.pt2 already exists"):
        export_network("t", "torch", Path("net.pt2"))


def trained_on(folder: Path, side: int = 32) -> Path:
    """A training on images that exist, whose random network tells some classes apart."""
    images = write_folders(folder.parent / "images", count=30, side=side)
    write_training(folder, side)
    data = load_data(str(images))
    file = folder / "training.json"
    settings = {**json.loads(file.read_text()), "data": str(images), "fingerprint": data.fingerprint}
    file.write_text(json.dumps(settings))
    return folder


def run_file(file: Path, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_accuracy_before_and_after_is_measured_and_kept(
    workplace: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    folder = trained_on(Path("t").absolute())
    assert main(["export", "t", "--format", "onnx", "--precision", precision, "--out", "net.onnx"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    found = metadata(Path("net.onnx"))
    accuracy = json.loads(found["accuracy"])
    assert found["precision"] == precision
    # Counted again, by two other ways to the same images.
    data = load_training_data(read_training(folder)[1])
    before = evaluate(trained_network(folder)[2], data.test, 32).top1
    inputs = normalised(torch.from_numpy(np.stack([data.test.images[i] for i in range(len(data.test))])))
    answers = run_file(Path("net.onnx"), inputs.contiguous()).argmax(1).numpy()
    after = float((answers == data.test.labels).mean())
    assert (accuracy["images"], accuracy["part"]) == (len(data.test), "test")
    assert (accuracy["before"], accuracy["after"]) == pytest.approx((before, after))
    change = f"{100 * before:.2f} % before, {100 * after:.2f} % after: {100 * (after - before):+.2f} points"
    assert f"Accuracy: {change}; the same class in" in shown
    assert predict("net.onnx", [Path("images")]).classes == tuple(COLOURS)


def test_int8_is_integers_for_each_channel_and_smaller(workplace: Path) -> None:
    trained_on(Path("t").absolute())
    for precision in ("fp32", "fp16", "int8"):
        export_network("t", "onnx", Path(f"{precision}.onnx"), options=OnnxOptions(precision=precision))
    size = {name: Path(f"{name}.onnx").stat().st_size for name in ("fp32", "fp16")}
    assert size["fp16"] < size["fp32"]
    model = onnx.load("int8.onnx")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = [
        tensors[node.input[1]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors and len(tensors[node.input[0]].dims) == 4
    ]
    assert scales
    assert all(scale.dims and scale.dims[0] > 1 for scale in scales)
    weights = [onnx.numpy_helper.to_array(each) for each in tensors.values() if each.data_type == onnx.TensorProto.INT8]
    assert all(int(np.abs(values.astype(int)).max(initial=0)) <= 64 for values in weights if values.ndim == 4)
    assert {each.data_type for each in onnx.load("fp16.onnx").graph.initializer} >= {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("sides", [(32, 32), (40, 64), (57, 33), (96, 41)])
@pytest.mark.parametrize("name", ["mnasnet_small", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)])
def test_images_of_any_size(tmp_path: Path, name: str, sides: tuple[int, int]) -> None:
    """One file for each network, which the sizes share."""
    file = _dynamic(tmp_path.parent, name)
    torch.manual_seed(5)
    network = build_network(adapted(small(load(name).architecture), 32, 3)).eval()
    images = torch.randn(3, 3, *sides)
    with torch.no_grad():
        torch.testing.assert_close(run_file(file, images), network(images), rtol=1e-4, atol=1e-5)


@cache
def _dynamic(folder: Path, name: str) -> Path:
    torch.manual_seed(5)
    file = folder / f"{name}.onnx"
    network = build_network(adapted(small(load(name).architecture), 32, 3))
    export_onnx(network, 32, file, options=OnnxOptions(dynamic_size=True))
    return file


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_opset(workplace: Path, opset: int) -> None:
    write_training(Path("t"))
    assert main(["export", "t", "--format", "onnx", "--opset", str(opset), "--out", "net.onnx"]) == 0
    assert [each.version for each in onnx.load("net.onnx").opset_import if each.domain == ""] == [opset]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("t --format onnx --opset 17", "opset: 17 is not an integer from 18 to 23"),
        ("t --format onnx --opset 99", "opset: 99 is not an integer from 18 to 23"),
        ("t --format onnx --precision int4", "precision: unknown precision 'int4'; did you mean 'int8'?"),
        ("t --format onnx --calibrate images", "calibrate: fp32 needs no images; add --precision int8"),
        ("t --format torch --precision int8", "format: torch has neither sizes, opsets nor precisions to choose from"),
        ("t --format timm --precision int8", "precision: the format timm has no networks; use --format onnx"),
        ("t --format tf --calibrate images", "calibrate: the format tf has no networks; use --format onnx"),
        ("t --format onnx --precision int8", "data: "),
        ("t/spec.yaml --format onnx --precision int8", "calibrate: a spec has no images; use the folder of a training"),
        ("t --format onnx --precision int8 --calibrate absent", "data: absent not found"),
    ],
)
def test_what_cannot_be_converted(
    workplace: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training(Path("t"))
    before = set(Path().iterdir())
    assert main(["export", *arguments.split()]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"mnas: {message}")
    assert shown.count("\n") == 1
    assert set(Path().iterdir()) == before


def test_half_precision_needs_no_images(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_training(Path("t"))
    assert main(["export", "t", "--format", "onnx", "--precision", "fp16", "--out", "net.onnx"]) == 0
    assert "The accuracy was not measured (data: images not found" in " ".join(capsys.readouterr().out.split())
    assert "accuracy" not in metadata(Path("net.onnx"))


@pytest.mark.parametrize(("names", "labelled"), [(tuple(COLOURS), True), (("blue", "red"), False)])
def test_a_spec_is_calibrated_with_other_images(
    workplace: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], labelled: bool
) -> None:
    write_training(Path("t"))
    write_folders(Path("images"))
    for name in set(COLOURS) - set(names):
        shutil.rmtree(Path("images") / name)
    options = ["--weights", "t/weights.safetensors", "--precision", "int8", "--calibrate", "images"]
    assert main(["export", "t/spec.yaml", "--format", "onnx", "--out", "net.onnx", *options]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    found = json.loads(metadata(Path("net.onnx"))["accuracy"])
    assert ("before" in found) == labelled
    note = (
        "Assumed: the outputs are the classes of images"
        if labelled
        else "The accuracy is unknown: images has 2 classes"
    )
    assert note in shown


def test_other_images_without_parts_are_calibrated_and_judged_apart(workplace: Path) -> None:
    folder = trained_on(Path("t").absolute())
    others = write_folders(Path("others"), count=8, seed=5)
    found = export_network(
        str(folder), "onnx", Path("net.onnx"), options=OnnxOptions(precision="int8"), calibrate=str(others)
    )
    assert found.measured is not None
    # 24 images, half of which are used to calibrate.
    assert (found.measured.images, found.measured.source) == (12, "others")


def test_calibration_reads_the_channels_of_the_network(workplace: Path) -> None:
    folder = write_training(Path("t"), channels=1)
    write_folders(Path("others"), count=8, seed=5)
    found = export_network(
        str(folder), "onnx", Path("net.onnx"), options=OnnxOptions(precision="int8"), calibrate="others"
    )
    assert found.measured is not None
    assert found.measured.images == 12
    session = onnxruntime.InferenceSession("net.onnx")
    assert session.get_inputs()[0].shape[1:] == [1, 32, 32]


@pytest.mark.parametrize(
    ("bounded", "precision", "advice"),
    [
        (False, "int8", "train efficientnet_lite0, or this one with --activation relu6"),
        (True, "int8", "--calibrate with other images, or --precision fp16"),
        (False, "fp16", "fp16 costs much here; use --precision fp32"),
    ],
)
def test_a_large_loss_names_what_helps(
    workplace: Path, capsys: pytest.CaptureFixture[str], bounded: bool, precision: str, advice: str
) -> None:
    name = "efficientnet_lite0" if bounded else "efficientnet_b0"
    with torch.device("meta"):
        source = Source("net", build_network(load(name).architecture), 32, 3, "its weights")
    for loss, expected in ((0.011, True), (0.009, False), (-0.05, False)):
        measured = Measured("images", "test", 1000, 0.9, 0.7, 0.7 - loss)
        show(*text(Exported(source, Path("net.onnx"), 0.1, OnnxOptions(precision=precision), None, measured)))
        assert (advice in " ".join(capsys.readouterr().out.split())) == expected
