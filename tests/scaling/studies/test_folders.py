"""Studies of scaling from Python: an interrupted one is resumed by its folder, and any result is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import scaling
from nas.__main__ import main
from search_spaces import MnasError
from tests.scaling.studies.conftest import study

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")


@pytest.mark.parametrize("kind", ["ablate", "family", pytest.param("search", marks=pytest.mark.slow)])
def test_a_study_is_resumed_by_its_folder(kind: str, images: str, stops: list[int]) -> None:
    whole = study(kind, images, "run-one")
    stops.append(len(list(Path("run-one").glob("*-seed*"))) + 2)
    with pytest.raises(KeyboardInterrupt):
        study(kind, images, "run-two")
    if kind != "search":
        with pytest.raises(MnasError, match=r"1 of \d trainings are done; finish it with: mnas "):
            scaling.load_run("run-two")
    resumed = scaling.resume("run-two", execution={"retries": 0})
    read = scaling.load_run(Path("run-two"))
    assert read == resumed
    assert hash(read) == hash(resumed)
    assert read != whole  # another folder
    for found in (resumed, read):
        assert type(found) is type(whole)
        assert text_of(found).replace("run-two", "run-one") == text_of(whole)


def text_of(found: Any) -> str:
    return str(found._repr_html_())


@pytest.mark.parametrize(
    "command",
    [
        "scale --phi 1",
        "scale --explain",
        "family --presets b1",
        "family --train --presets b0..b1 --data images",
        "ablate --data images",
        "scaling-search --data images",
    ],
)
@pytest.mark.usefixtures("images")
def test_a_network_of_torchvision_is_not_scaled(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Whether torchvision is installed or not."""
    name, *options = command.split()
    assert main([name, "torchvision:resnet50", *options]) == 2
    expected = "mnas: network: torchvision:resnet50 has no architecture in this project; scale a spec instead\n"
    assert capsys.readouterr().err == expected


def test_other_folders_and_fields_are_refused(images: str) -> None:
    for call in (scaling.resume, scaling.load_run):
        with pytest.raises(MnasError, match=r"folder: images holds no study of scaling; use the folder of one"):
            call("images")
    with pytest.raises(MnasError, match=r"unknown field 'seed'; did you mean 'seeds'\?"):
        scaling.ablate("mnasnet_small", data=images, plan={"seed": 2})
    with pytest.raises(MnasError, match=r"unknown field 'epoch'; did you mean 'epochs'\?"):
        scaling.train_family("mnasnet_small", data=images, plan={"presets": "b0..b1"}, options={"epoch": 2})
    with pytest.raises(TypeError, match="plan: expected AblationPlan or Mapping or None, got int"):
        scaling.ablate("mnasnet_small", data=images, plan=3)
