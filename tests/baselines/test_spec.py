from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import BaselineSpec, Figure, Provenance, ScalingRecord, SearchRecord, load, names, read_spec, write_spec
from baselines.registry import PACKAGED, own_file
from baselines.spec import Target, spec_from_dict
from search_spaces import FieldError, MnasError
from search_spaces.serialization import read_yaml
from tests.search_spaces.strategies import architectures

SEARCH = SearchRecord(
    "efficientnet", "imagenet", "ppo", "hard", (Target("macs", 4e8),), (0.0, -1.0), 3, 500, 77, 0.66, "0123456789abcdef"
)
SCALING = ScalingRecord("efficientnet_b0", "0123456789abcdef", "preset b3", 1.2, 1.4, 300)

texts = st.text(min_size=1, max_size=30).filter(lambda text: text.strip() and text.isprintable())
figures = st.builds(
    Figure,
    metric=texts,
    value=st.floats(0, 1e12),
    kind=st.sampled_from(("published", "predicted", "measured")),
    source=texts,
    std=st.none() | st.floats(0, 1),
)
specs = st.builds(
    BaselineSpec,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    architecture=architectures,
    provenance=st.builds(Provenance, texts, search=st.none() | st.just(SEARCH), scaling=st.none() | st.just(SCALING)),
    figures=st.lists(figures, max_size=3).map(tuple),
)


@given(specs)
def test_round_trip_through_a_file(tmp_path_factory: pytest.TempPathFactory, spec: BaselineSpec) -> None:
    file = tmp_path_factory.mktemp("specs") / "spec.yaml"
    assert write_spec(spec, file)
    assert read_spec(file) == spec
    assert not write_spec(spec, file), "the same spec again writes nothing"
    assert [entry.name for entry in file.parent.iterdir()] == ["spec.yaml"]


def test_another_spec_is_never_overwritten(tmp_path: Path) -> None:
    spec = load("efficientnet_b0")
    file = tmp_path / "spec.yaml"
    write_spec(spec, file)
    before = file.read_bytes()
    with pytest.raises(MnasError, match="already exists with other content"):
        write_spec(replace(spec, name="other"), file)
    assert file.read_bytes() == before


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MnasError, match="cannot be written"):
        write_spec(load("efficientnet_b0"), tmp_path / "file" / "spec.yaml")


def test_user_specs_are_found_by_name_and_by_path(workplace: Path) -> None:
    spec = replace(load("efficientnet_b0"), name="mine")
    write_spec(spec, own_file("mine"))
    assert load("mine") == load("specs/mine.yaml") == spec
    assert set(names()) == {"mine", *(file.stem for file in PACKAGED.glob("*.yaml"))}
    with pytest.raises(MnasError, match="unknown baseline 'mime'; did you mean 'mine'"):
        load("mime")


def test_a_user_cannot_shadow_a_packaged_baseline(workplace: Path) -> None:
    with pytest.raises(MnasError, match="is a baseline of the package"):
        own_file("efficientnet_b0")


@pytest.mark.parametrize("name", ["", " ", "a/b", "../up", "-dash", ".hidden", "x" * 65, 7, None])
def test_wrong_names(name: object) -> None:
    with pytest.raises(FieldError, match="name: "):
        replace(load("efficientnet_b0"), name=name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), 2, "schema: 2: expected 1"),
        (("architecture", "stages", 2, "kernel_size"), 6, "architecture.stages[2].kernel_size: 6 is not an odd"),
        (("architecture", "resolution"), -1, "architecture.resolution: -1 is not an integer"),
        (("figures", 0, "kind"), "guessed", "figures[0].kind: 'guessed': expected one of"),
        (("figures", 0, "value"), float("inf"), "figures[0].value: inf: expected a finite number"),
        (("provenance", "source"), "", "provenance.source: '': expected one line"),
        (("provenance", "serch"), {}, "provenance.serch: unknown field 'serch'; did you mean 'search'?"),
        (("provenance", "search"), {"space": "x"}, "provenance.search.evaluator: missing"),
        (("figures",), {"metric": "top1"}, "figures"),
    ],
)
def test_errors_name_the_wrong_field(path: tuple[str | int, ...], value: object, message: str) -> None:
    data = load("efficientnet_b0").as_dict()
    inner = data
    for key in path[:-1]:
        inner = inner[key]  # type: ignore[index]
    inner[path[-1]] = value  # type: ignore[index]
    with pytest.raises(FieldError) as error:
        spec_from_dict(data)
    assert str(error.value).startswith(message)


@given(st.data())
def test_truncated_and_damaged_spec_files_give_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = (PACKAGED / "efficientnet_b0.yaml").read_bytes()
    end = data.draw(st.integers(0, len(raw) - 1))
    position = data.draw(st.integers(0, end))
    damaged = raw[:position] + data.draw(st.binary(max_size=3)) + raw[position:end]
    file = tmp_path_factory.mktemp("damaged") / "spec.yaml"
    file.write_bytes(damaged)
    try:
        read_spec(file)  # a cut inside the last figures may leave a valid spec
    except MnasError as error:
        assert str(error).startswith(str(file))
        assert "\n" not in str(error)


def test_the_b0_file_is_a_table() -> None:
    lines = (PACKAGED / "efficientnet_b0.yaml").read_text().splitlines()
    assert sum(line.strip().startswith("- {op: mbconv,") for line in lines) == 7
    assert read_yaml(PACKAGED / "efficientnet_b0.yaml") == load("efficientnet_b0").as_dict()
