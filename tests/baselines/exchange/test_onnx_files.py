"""ONNX files of others: what is missing or damaged in one is said in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from baselines.exchange.onnx_files import open_onnx
from baselines.exchange.signature import Signature, read_signature
from nas.__main__ import main
from search_spaces import MnasError
from tests.processes import ROOT, in_new_process

SIGNATURE = Signature(("cat", "dog"), 8, "pad", (0.5, 0.25, 0.0), (1.0, 0.5, 2.0), "tiny")


def write_onnx(
    file: Path,
    entries: dict[str, str],
    inputs: tuple[int | str, ...] = ("N", 3, 8, 8),
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Write a network whose first logit is the mean of an image's red, and the second that of its green."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gather", ["flat", "first"], ["logits"], axis=1),
    ]
    first = helper.make_tensor("first", TensorProto.INT64, [2], [0, 1])
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", kind, inputs)],
        [helper.make_tensor_value_info("logits", kind, ("N", "classes"))],
        [first],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, entries)
    onnx.save(model, file)
    return file


def test_a_signature_and_its_network_are_read_back(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx", {**SIGNATURE.entries(), "author": "somebody"})
    signature, logits = open_onnx(file)
    assert signature == SIGNATURE
    images = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(logits(images), images.mean((2, 3))[:, :2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("names", [("é€", "\x1b[2J", ""), ("\udcff", "=1+1", "two\nlines"), ("a" * 10_000, "b", "c")])
def test_any_name_of_a_class_survives(tmp_path: Path, names: tuple[str, ...]) -> None:
    signature = Signature(names, 224, "crop", (0.5,) * 3, (0.5,) * 3)
    file = write_onnx(tmp_path / "net.onnx", signature.entries(), ("N", 3, 224, 224))
    assert read_signature({entry.key: entry.value for entry in onnx.load(file).metadata_props}, file) == signature


DAMAGED: dict[str, list[tuple[str, str]]] = {
    "classes": [
        ("cat, dog", "is not JSON"),
        ("[]", "0 is not an integer from 1"),
        ('["cat", "cat"]', "'cat' is there twice"),
        ('["cat", 3]', r"classes\[1\]: 3 is not a string"),
        ('{"0": "cat"}', "is not a list"),
        ("[" * 100_000, "is not JSON"),
        ('["' + "x" * 2**24 + '"]', "longer than"),
    ],
    "side": [
        ("0", "0 is not"),
        ("8.5", "8.5 is not"),
        ("true", "True is not"),
        ("9" * 5000, "is not JSON"),
        ("1e9", "is not"),
    ],
    "fit": [("stretch", "'stretch'"), ("\x1b[2J", "fit")],
    "mean": [
        ("[0.5]", "other channels than the mean"),
        ("[0, 0]", "each channel"),
        ("[NaN, 0, 0]", "each channel"),
        ('["0", 0, 0]', "not a number"),
    ],
    "std": [("[0, 1, 1]", "each channel"), ("[1, 1, Infinity]", "each channel"), ("[1, 1, 1e400]", "each channel")],
}


@pytest.mark.parametrize(
    ("name", "value", "message"), [(name, *pair) for name, pairs in DAMAGED.items() for pair in pairs]
)
def test_damaged_metadata(tmp_path: Path, name: str, value: str, message: str) -> None:
    file = write_onnx(tmp_path / "net.onnx", {**SIGNATURE.entries(), name: value})
    with pytest.raises(MnasError, match=message) as raised:
        open_onnx(file)
    assert str(raised.value).startswith(f"{file}: its metadata are damaged (")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("missing", [["classes"], ["side", "fit"], ["mean", "std"], list(SIGNATURE.entries())])
def test_what_is_missing_is_named(tmp_path: Path, missing: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    entries = {name: value for name, value in SIGNATURE.entries().items() if name not in missing}
    file = write_onnx(tmp_path / "net.onnx", entries)
    named = ", ".join(name for name in missing if name != "network")
    assert main(["predict", str(file), "--images", str(tmp_path)]) == 2
    expected = f"mnas: {file}: its metadata lack {named}, without which images cannot be classified"
    assert capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": (1, 3, 8, 8)}, "its inputs are images"),
        ({"inputs": ("N", 1, 8, 8)}, "its inputs are images"),
        ({"inputs": ("N", 3, 9, 9)}, "expected one of floats, N x 3 x 8 x 8"),
        ({"inputs": ("N", 3, 8)}, "its inputs are images"),
        ({"kind": TensorProto.FLOAT16}, "its inputs are images"),
    ],
)
def test_networks_that_are_no_such_classifiers(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    file = write_onnx(tmp_path / "net.onnx", SIGNATURE.entries(), **options)
    with pytest.raises(MnasError, match=message):
        open_onnx(file)


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04.", bytes(range(256)) * 10])
def test_files_that_are_no_networks(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(MnasError, match=r"net\.onnx: (not a network that onnxruntime can run|its metadata lack)"):
        open_onnx(tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")


def test_another_number_of_classes_than_outputs(tmp_path: Path) -> None:
    entries = {**SIGNATURE.entries(), "classes": json.dumps(["a", "b", "c"])}
    with pytest.raises(MnasError, match=r"its outputs are logits .*, expected one, N x 3; export it again"):
        open_onnx(write_onnx(tmp_path / "net.onnx", entries))


def test_onnxruntime_reports_to_nobody(tmp_path: Path) -> None:
    """Its telemetry keeps what it sends in a cache of its own, which it makes when it is imported."""
    code = (
        "from baselines.exchange.onnx_files import import_onnxruntime; import_onnxruntime('onnxruntime.quantization')"
    )
    in_new_process(code, XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_onnxruntime_is_imported_in_one_place() -> None:
    files = [file for name in ("baselines", "nas", "scaling", "search_spaces") for file in (ROOT / name).rglob("*.py")]
    imports = [file.name for file in files if "import onnxruntime" in file.read_text()]
    imports += [file.name for file in files if "from onnxruntime" in file.read_text()]
    assert imports == []
