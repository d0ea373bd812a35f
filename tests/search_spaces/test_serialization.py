from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Architecture, FieldError, MnasError, architecture_from_dict, architecture_to_dict, digest
from search_spaces.serialization import MAX_FILE_BYTES, read_yaml, write_yaml
from tests.search_spaces.strategies import architectures


@given(architectures)
def test_round_trip_through_yaml(architecture: Architecture) -> None:
    text = write_yaml(architecture_to_dict(architecture))
    again = architecture_from_dict(yaml.safe_load(text))
    assert again == architecture
    assert digest(again) == digest(architecture)


@given(architectures, architectures)
def test_digests_differ_where_architectures_differ(a: Architecture, b: Architecture) -> None:
    assert (digest(a) == digest(b)) == (a == b)


def changed(b0: Architecture, **changes: object) -> dict[str, object]:
    return {**architecture_to_dict(b0), **changes}


def with_stage(b0: Architecture, **changes: object) -> dict[str, object]:
    data = architecture_to_dict(b0)
    data["stages"][3] = {**data["stages"][3], **changes}
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolutoin": 224}, "resolutoin: unknown field 'resolutoin'; did you mean 'resolution'?"),
        ({"stages": None}, "stages: None is not a list of stages"),
        ({"stages": [3]}, "stages[0]: 3 is not a mapping of fields"),
        ({"stem": [1]}, "stem: [1] is not a mapping of fields"),
        ({"stem": {"out_channels": 8, "kernel_size": 3}}, "stem.stride: missing; give it a value"),
        ({"stem": {"out_channels": 8, "kernel_size": 2, "stride": 1}}, "stem.kernel_size: 2 is not an odd integer"),
        ({"resolution": "224"}, "resolution: '224' is not an integer"),
        ({"bn_eps": float("nan")}, "bn_eps: nan is not a number"),
        ({"resolution": 10**5000}, "resolution: <int too long to print> is not an integer"),
    ],
)
def test_errors_name_the_wrong_field_of_a_document(b0: Architecture, change: dict[str, object], message: str) -> None:
    with pytest.raises(FieldError) as error:
        architecture_from_dict(changed(b0, **change))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 4}, "stages[3].kernel_size: 4 is not an odd integer"),
        ({"op": "mbcnv"}, "stages[3].op: unknown op 'mbcnv'; did you mean 'mbconv'?"),
        ({"op": ["mbconv"]}, "stages[3].op: unknown op"),
        ({"num_layers": 0}, "stages[3].num_layers: 0 is not an integer from 1"),
        ({"expand": 6}, "stages[3].expand: unknown field 'expand'; did you mean 'expand_ratio'?"),
    ],
)
def test_errors_name_the_wrong_field_of_a_stage(b0: Architecture, change: dict[str, object], message: str) -> None:
    with pytest.raises(FieldError) as error:
        architecture_from_dict(with_stage(b0, **change))
    assert str(error.value).startswith(message)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(json_like)
def test_any_other_document_raises_a_field_error(data: object) -> None:
    with pytest.raises(FieldError) as error:
        architecture_from_dict(data)
    assert "\n" not in str(error.value)


@given(st.data())
def test_replacing_any_field_by_anything_gives_a_clear_error(data: st.DataObject) -> None:
    from baselines import load

    document = architecture_to_dict(load("efficientnet_b0").architecture)
    name = data.draw(st.sampled_from(sorted(document)))
    document[name] = data.draw(json_like)
    try:
        architecture_from_dict(document)
    except FieldError as error:
        assert str(error).startswith(name)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 1\na: 2",
        "!!python/object/apply:os.system ['true']",
        "\t- x",
        "a: &x [*x",
        "? {a: b}\n: c",
        "[" * 5000,
    ],
)
def test_anything_but_plain_yaml_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(MnasError) as error:
        read_yaml(file)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(MnasError, match="cannot be read"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(MnasError, match="cannot be read"):
        read_yaml(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MnasError, match="not a text file"):
        read_yaml(tmp_path / "binary.yaml")
    (tmp_path / "large.yaml").write_text("#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(MnasError, match="larger than"):
        read_yaml(tmp_path / "large.yaml")


def test_exponents_without_a_dot_are_numbers(tmp_path: Path, b0: Architecture) -> None:
    text = write_yaml({**architecture_to_dict(b0)}).replace("bn_eps: 0.001", "bn_eps: 1e-3")
    (tmp_path / "b0.yaml").write_text(text)
    assert "1e-3" in text
    assert architecture_from_dict(read_yaml(tmp_path / "b0.yaml")) == b0
    # A text that looks like a number stays a text.
    (tmp_path / "text.yaml").write_text(write_yaml({"source": "1e-3"}))
    assert read_yaml(tmp_path / "text.yaml") == {"source": "1e-3"}


def test_equal_architectures_have_equal_digests(b0: Architecture) -> None:
    assert replace(b0, dropout=0) == replace(b0, dropout=0.0)
    assert digest(replace(b0, dropout=0)) == digest(replace(b0, dropout=0.0))


def test_a_small_file_that_would_unfold_to_gigabytes_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    (tmp_path / "bomb.yaml").write_text("\n".join([*lines, "stages: *a39"]))
    with pytest.raises(MnasError, match=r"bomb.yaml: line 2: aliases are not supported; replace \*a0"):
        read_yaml(tmp_path / "bomb.yaml")
    # A nested structure from Python code is not printed in full either.
    nested: list[object] = ["x"]
    for _ in range(40):
        nested = [nested] * 10
    with pytest.raises(FieldError) as error:
        architecture_from_dict({"stages": {"a": nested}})
    assert len(str(error.value)) < 300
