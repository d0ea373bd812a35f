"""A trained network becomes a file that knows its classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from baselines.comparators import load_comparator
from baselines.exchange.weights import save_weights
from baselines.training.classify import predict
from baselines.training.export import export_network
from baselines.training.folder import WEIGHTS, create_training
from baselines.training.recipe import load_recipe
from baselines.training.settings import TrainingSettings
from nas.__main__ import main
from search_spaces import MnasError
from tests.baselines.training.images import COLOURS, write_folders, write_training


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
