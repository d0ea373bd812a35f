"""``--evaluator train``: accuracies of networks after a short training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from baselines import load
from nas.__main__ import main
from nas.check import check_evaluator
from nas.evaluators.proxy_training import Proxy, ProxyOptions, ProxyTraining, evaluator_of, proxy_of
from nas.evaluators.registry import _load_evaluator, load_evaluator
from search_spaces import FieldError, MnasError, StageSpace
from tests.baselines.training.images import write_folders

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; install it with: pip install")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return write_folders(tmp_path / "my images?", count=60, side=16)


def test_a_name_says_all_of_a_proxy_and_nothing_that_is_usual(images: Path) -> None:
    proxy = Proxy(data=str(images), epochs=2, width=0.25, images=90, repeats=2)
    assert proxy_of(proxy.name) == proxy
    assert proxy.name.endswith("/my%20images%3F?epochs=2&width=0.25&images=90&repeats=2") or proxy.name.endswith(
        "/my images%3F?epochs=2&width=0.25&images=90&repeats=2"
    )
    assert proxy_of("train:folder") == Proxy(data="folder")
    found = proxy_of(evaluator_of(str(images), ProxyOptions(epochs=2)).name)
    assert len(found.fingerprint) == 16
    assert (found.data, found.epochs) == (str(images), 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train:", "data: missing"),
        ("train:x?epoch=3", "unknown part of the proxy 'epoch'; did you mean 'epochs'"),
        ("train:x?epochs=many", "epochs: 'many' is not a number"),
        ("train:x?epochs=0", "epochs: 0 is not"),
        ("train:x?width=nan", "width: nan is not"),
        ("train:x?epochs=1&epochs=2", "epochs"),
        ("train:x?resolution=mine", "resolution: 'mine' is not"),
        ("train:x?resolution=4", "resolution: 4 is not"),
        ("train:x?epochs=own", "epochs: 'own' is not"),
        ("train:x?recipe=none", "unknown recipe 'none'"),
    ],
)
def test_names_that_are_no_proxy(name: str, message: str) -> None:
    with pytest.raises(MnasError, match=message):
        proxy_of(name)


def test_it_keeps_the_rules_of_evaluators(images: Path, space: StageSpace) -> None:
    proxy = Proxy(data=str(images), epochs=1, width=0.1, images=60)
    findings = list(check_evaluator(ProxyTraining(proxy), space))
    assert [finding for finding in findings if finding.problem] == []


def test_what_it_trains_and_judges(images: Path) -> None:
    evaluator = ProxyTraining(Proxy(data=str(images), epochs=3, width=0.25, images=90))
    b0 = load("efficientnet_b0").architecture
    assert len(evaluator.data.train) == 90
    adapted = evaluator.adapted(b0)
    assert (adapted.resolution, adapted.num_classes, adapted.stem.stride) == (16, 3, 1)
    (first,), (again,), (other,) = (evaluator.evaluate([b0], seed) for seed in (0, 0, 1))
    assert first == again
    assert first.accuracy_std is None
    assert 0 <= other.accuracy <= 1
    repeated = ProxyTraining(Proxy(data=str(images), epochs=3, width=0.25, images=90, repeats=2))
    (both,) = repeated.evaluate([b0])
    assert both.accuracy == pytest.approx((first.accuracy + other.accuracy) / 2)  # with the seeds 0 and 1
    assert both.accuracy_std is not None


def test_networks_at_their_own_resolution(images: Path) -> None:
    proxy = Proxy(data=str(images), resolution="own", width=0.25)
    assert proxy_of(proxy.name) == proxy
    evaluator = ProxyTraining(proxy)
    for name, side in (("efficientnet_b0", 224), ("efficientnet_b1", 240)):
        assert evaluator.adapted(load(name).architecture).resolution == side
    assert "at each network's own resolution" in evaluator.meaning


def test_other_images_or_a_side_that_is_too_small_are_refused(images: Path) -> None:
    name = evaluator_of(str(images), ProxyOptions(epochs=1)).name
    (images / "red" / "000.png").unlink()
    with pytest.raises(MnasError, match="has changed"):
        load_evaluator(name).prepare()
    with pytest.raises(FieldError, match="resolution: 7 is not an integer from 8"):
        ProxyTraining(Proxy(data=str(images), resolution=7)).check(load("efficientnet_b0").architecture)


def test_without_its_library_nothing_begins(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    _load_evaluator.cache_clear()
    for command in (["search", "--evaluator", "train"], ["train", "efficientnet_b0"]):
        assert main([*command, "--data", str(images), "--out", "run"]) == 2
        assert "lightning-fabric is not installed; install it with: " in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_search_over_trainings(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proxy = ("--evaluator", "train", "--data", str(images), "--epochs", "1", "--width", "0.1", "--images", "60")
    assert main(["search", *proxy, "--trials", "4", "--workers", "2", "--out", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["evaluator"].startswith("train:")
    figure = found["best"]["spec"]["figures"][0]
    assert figure["kind"] == "measured"
    assert "a proxy that ranks networks" in figure["source"]
    assert main(["search", "--resume", "run", "--trials", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 5
    assert main(["search", "--data", str(images)]) == 2
    assert "data: --data needs --evaluator train" in capsys.readouterr().err


def test_a_run_is_read_without_its_images_and_resumed_where_they_are_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "pics", count=20, side=16)
    options = ["--evaluator", "train", "--epochs", "1", "--width", "0.1", "--images", "30", "--target-macs", "150M"]
    search = ["search", *options, "--data", "pics", "--controller", "random", "--executor", "in-process"]
    assert main([*search, "--trials", "2", "--out", "run"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["search", "--resume", "../run", "--trials", "3"]) == 0
    (tmp_path / "pics").rename(tmp_path / "moved")
    _load_evaluator.cache_clear()  # as in another process
    for command in (["freeze", "../run", "--name", "x"], ["front", "../run"], ["trials", "../run"]):
        assert main(command) == 0
    capsys.readouterr()
    assert main(["search", "--resume", "../run", "--trials", "4"]) == 2
    assert "pics not found" in capsys.readouterr().err
    write_folders(tmp_path / "others", count=20, side=16, seed=1)
    assert main(["search", "--resume", "../run", "--trials", "4", "--data", "../others"]) == 2
    assert "others has changed (fingerprint" in capsys.readouterr().err
    assert main(["search", "--resume", "../run", "--trials", "4", "--data", "../moved"]) == 0
    assert main(["search", "--resume", "../run", "--trials", "5"]) == 0  # it stays there


def test_a_place_of_images_is_for_runs_that_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert main(["search", "--controller", "random", "--trials", "2", "--out", out]) == 0
    assert main(["search", "--resume", out, "--data", str(tmp_path)]) == 2
    assert "data: the run uses imagenet, which reads no images; remove data" in capsys.readouterr().err
