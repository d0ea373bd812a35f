"""Recipe files and --set: what is read is what was written, and whatever cannot be meant is refused in one line."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from baselines.training.augment import inputs_of, normalised
from baselines.training.data.sources import load_data
from baselines.training.folder import SETTINGS, WEIGHTS, read_training, trained_network
from baselines.training.optimizer import make_optimizer
from baselines.training.predict import logits_of
from baselines.training.recipe import AUGMENTATIONS, CROPS, OPTIMIZERS, RECIPES, SCHEDULES, Recipe
from baselines.training.recipe_files import changes_of, chosen_recipe, read_recipe, recipe_options, recipe_text
from baselines.training.settings import TrainingOptions
from nas.__main__ import main
from nas.evaluators.proxy_training import Proxy, ProxyOptions, evaluator_of, proxy_of
from search_spaces import MnasError
from tests.baselines.training.images import write_folders

COMMENTS = {item.name: "what it is" for item in fields(Recipe)}
SHARES, PAIRS = st.floats(0, 1), st.tuples(st.floats(0.05, 0.5), st.floats(0.5, 1))
OWN = st.one_of(st.none(), SHARES)


def made(epochs: int, warmup: float, **values: Any) -> Recipe:
    return Recipe(epochs=epochs, warmup_epochs=warmup * epochs, **values)


RANDOM = st.builds(
    made,
    epochs=st.integers(1, 500),
    warmup=SHARES,
    batch=st.integers(2, 9999),
    optimizer=st.sampled_from(OPTIMIZERS),
    learning_rate=st.floats(0, 100),
    schedule=st.sampled_from(SCHEDULES),
    weight_decay=SHARES,
    ema=SHARES,
    crop=st.sampled_from(CROPS),
    crop_scale=PAIRS,
    crop_ratio=PAIRS,
    flip=st.booleans(),
    augmentation=st.sampled_from(AUGMENTATIONS),
    random_erasing=SHARES,
    mixup=st.floats(0, 100),
    cutmix=st.floats(0, 100),
    mean=st.tuples(SHARES, SHARES, SHARES),
    std=st.tuples(*[st.floats(0.001, 10)] * 3),
    bn_momentum=OWN,
    dropout=OWN,
    drop_connect=OWN,
)


@given(RANDOM, st.sampled_from(sorted(RECIPES)))
def test_files_and_changes_give_back_any_recipe(
    tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, base: str
) -> None:
    file = tmp_path_factory.mktemp("recipes") / "own.toml"
    file.write_text(recipe_text(recipe, COMMENTS))
    assert read_recipe(file) == chosen_recipe(str(file)) == recipe
    assert chosen_recipe(base, changes_of(recipe, base)) == recipe
    words = recipe_options(recipe)
    assert chosen_recipe(words[1], words[3::2]) == recipe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RECIPES["cifar"]),
        ("flip = false", replace(RECIPES["cifar"], flip=False)),
        ('base = "paper"\ndropout = 0.5', replace(RECIPES["paper"], dropout=0.5)),
        ('base = "proxy"\ndropout = "own"', replace(RECIPES["proxy"], dropout=None)),
        # A warm-up that the file does not ask for is dropped where it would fill the epochs.
        ("epochs = 2", replace(RECIPES["cifar"], epochs=2, warmup_epochs=0.0)),
        ("epochs = 2\nwarmup_epochs = 1", replace(RECIPES["cifar"], epochs=2, warmup_epochs=1)),
        ('optimizer = "adamw"\nmean = [0, 0.5, 1]', replace(RECIPES["cifar"], optimizer="adamw", mean=(0.0, 0.5, 1.0))),
        ("\ufefflearning_rate = 1\r\ncutmix = 1e0\r\n", replace(RECIPES["cifar"], learning_rate=1.0, cutmix=1.0)),
    ],
)
def test_what_a_file_leaves_out_is_that_of_its_base(tmp_path: Path, text: str, expected: Recipe) -> None:
    (tmp_path / "own.toml").write_text(text, newline="")
    assert chosen_recipe(str(tmp_path / "own.toml")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flipp = false", "flipp: unknown field 'flipp'; did you mean 'flip'?"),
        ("lable_smoothing = 0.1", "did you mean 'label_smoothing'?"),
        ("[recipe]\nflip = false", "recipe: unknown field 'recipe'"),
        ('base = "papper"', "base: unknown recipe 'papper'; did you mean 'paper'?"),
        ("base = 1", "base: unknown recipe 1"),
        ("flip = 1", "flip: 1: expected true or false"),
        ('epochs = "ten"', "epochs: 'ten' is not an integer"),
        ("epochs = true", "epochs: True is not an integer"),
        ("epochs = 1.5", "epochs: 1.5 is not an integer"),
        ("epochs = 1979-05-27", "epochs: .* is not an integer"),
        ("learning_rate = nan", "learning_rate: nan is not a number from 0 to 100"),
        ("mean = 0.5", "mean: 0.5 is not a list"),
        ("mean = [0.5, 0.5]", r"mean: .*: expected 3 numbers"),
        ("std = [0.5, 0.5, 0]", r"std\[2\]: 0 is not a number from 0.001"),
        ("crop_scale = [1.0, 0.5]", "crop_scale: .* the first must not be larger"),
        ('crop_scale = ["a", "b"]', r"crop_scale\[0\]: 'a' is not a number"),
        ('optimizer = "adam"', "optimizer: unknown optimizer 'adam'; did you mean 'adamw'?"),
        ("mixup = -1", "mixup: -1 is not a number from 0 to 100"),
        ("epochs = 2\nwarmup_epochs = 3", "warmup_epochs: 3 is not a number from 0 to 2"),
        ("epochs = 2\nepochs = 3", "not TOML"),
        ("flip = False", "not TOML"),
        ("epochs = " + "9" * 5000, "not TOML"),
        ("a = " + "[" * 3000, "not TOML"),
        ("# " + "x" * 100_001, "larger than"),
        ("a\x00 = 1", "not TOML"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(MnasError, match=message) as caught:
        chosen_recipe(str(file))
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["flipp=false"], "set: unknown field of a recipe 'flipp'; did you mean 'flip'?"),
        (["mixup"], "set: 'mixup': expected KEY=VALUE"),
        (["=1"], "set: unknown field"),
        (["mixup=a"], "set: mixup: 'a': expected a finite number"),
        (["mixup="], "set: mixup: '': expected a finite number"),
        (["flip=yes"], "set: flip: 'yes': expected true or false"),
        (["epochs=2.5"], "set: epochs: '2.5': expected an integer"),
        (["mean=1,2"], "mean: .* expected 3 numbers"),
        (["mixup=1", "mixup=2"], "set: mixup is given twice"),
        (["base=paper"], "set: unknown field of a recipe 'base'"),
    ],
)
def test_wrong_changes(changes: list[str], message: str) -> None:
    with pytest.raises(MnasError, match=message):
        chosen_recipe("cifar", changes)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (TrainingOptions(set=("epochs=3",), epochs=4), "epochs"),
        (TrainingOptions(set=("batch=3",), batch=4), "batch"),
        (TrainingOptions(set=("learning-rate=3",), learning_rate=4), "learning_rate"),
        (TrainingOptions(set=("flip=true",), no_flip=True), "flip"),
        (ProxyOptions(set=("epochs=3",), epochs=4), "epochs"),
    ],
)
def test_a_value_is_given_once(options: TrainingOptions, key: str) -> None:
    with pytest.raises(MnasError, match=f"set: {key} is given twice, by --set or by its own option"):
        options.chosen_recipe()


def test_options_and_changes_are_checked_together() -> None:
    """A warm-up that is asked for is kept or refused, in whatever order it is given."""
    long = TrainingOptions(set=("warmup_epochs=150",), epochs=200).chosen_recipe()
    assert (long.epochs, long.warmup_epochs) == (200, 150)
    with pytest.raises(MnasError, match="warmup_epochs: 150"):
        TrainingOptions(set=("warmup_epochs=150",)).chosen_recipe()


@pytest.mark.parametrize("name", ["cifer", "nothing", "Paper", "cifar.tml"])
def test_names_that_are_no_files(name: str) -> None:
    with pytest.raises(MnasError, match="unknown recipe"):
        chosen_recipe(name)


@pytest.mark.parametrize("name", ["missing.toml", "./nothing", "/dev/zero", "folder.toml", "a\0.toml"])
def test_files_that_are_none(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.toml").mkdir()
    with pytest.raises(MnasError):
        chosen_recipe(name)


def test_the_command_prints_what_the_option_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, recipe in RECIPES.items():
        assert main(["recipes", name]) == 0
        text = capsys.readouterr().out
        assert tomllib.loads(text).keys() == asdict(recipe).keys()
        (tmp_path / "own.toml").write_text(text)
        assert chosen_recipe(str(tmp_path / "own.toml")) == recipe
    assert main(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in [*RECIPES, *asdict(RECIPES["paper"])])
    assert main(["recipes", "--json"]) == 0
    plain = json.loads(json.dumps({name: asdict(recipe) for name, recipe in RECIPES.items()}))
    assert json.loads(capsys.readouterr().out)["recipes"] == plain
    assert main(["recipes", "papper"]) == 2
    assert "did you mean 'paper'?" in capsys.readouterr().err


FILE = """
base = "proxy"
optimizer = "adamw"
learning_rate = 0.004
weight_decay = 0.05
label_smoothing = 0.1
epochs = 2
batch = 16
mixup = 0.2
cutmix = 1.0
random_erasing = 0.25
mean = [0.5, 0.4, 0.3]
std = [0.25, 0.5, 1.0]
"""


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(FILE)
    return str(write_folders(tmp_path / "images", count=40))


def test_a_training_keeps_the_values_of_its_file(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without its file it opens, goes on, and is judged with the mean and standard deviation that it learned with."""
    options = ("--recipe", "own.toml", "--set", "flip=false", "--width", "0.2", "--json")
    assert main(["train", "mnasnet_small", "--data", images, *options, "--out", "t"]) == 0
    val = json.loads(capsys.readouterr().out)["val"]
    expected = replace(read_recipe(Path("own.toml")), flip=False)
    Path("own.toml").unlink()
    _, settings, network = trained_network(Path("t"))
    assert settings.recipe == expected
    weights = Path("t", WEIGHTS).read_bytes()
    Path("t", WEIGHTS).unlink()
    assert main(["train", "--resume", "t", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["val"] == val
    assert Path("t", WEIGHTS).read_bytes() == weights
    # The logits are those of the network on inputs that are made by hand.
    part = load_data(images).val
    pixels = torch.from_numpy(np.stack([part.images[index] for index in range(len(part))]))
    inputs = (pixels.double() / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.25, 0.5, 1.0])
    with torch.inference_mode():
        by_hand = network.eval()(inputs.float().permute(0, 3, 1, 2))
    found = logits_of(network, part, 16, torch.device("cpu"))
    torch.testing.assert_close(found, by_hand)
    assert np.mean(found.argmax(1).numpy() == part.labels) == val["top1"]
    assert not torch.equal(inputs_of(network, pixels), normalised(pixels))


def test_trainings_of_earlier_versions_open(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--recipe", "proxy", "--epochs", "1", "--width", "0.2", "--out", "t")
    assert main(["train", "mnasnet_small", "--data", images, *options]) == 0
    file = Path("t", SETTINGS)
    stored = json.loads(file.read_text())
    for name in ("crop_scale", "crop_ratio", "crop_shift", "random_erasing", "mixup", "cutmix", "mean", "std"):
        del stored["recipe"][name]
    before = read_training(Path("t"))[1]
    file.write_text(json.dumps(stored))
    assert read_training(Path("t"))[1] == before
    assert main(["evaluate", "t", "--json"]) == 0
    network = trained_network(Path("t"))[2]
    pixels = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    assert torch.equal(inputs_of(network, pixels), normalised(pixels))


def test_an_evaluator_keeps_the_values_and_not_the_file(images: str) -> None:
    expected = read_recipe(Path("own.toml"))
    evaluator = evaluator_of(images, ProxyOptions(recipe="own.toml", no_flip=True))
    Path("own.toml").write_text("epochs = 9")
    assert evaluator.recipe == replace(expected, flip=False)
    assert "own.toml" not in evaluator.name
    assert proxy_of(evaluator.name).chosen_recipe() == evaluator.recipe
    assert proxy_of(evaluator.name).name == evaluator.name
    changed = proxy_of(f"train:{images}?set=mixup%3D0.2&set=dropout%3Down&epochs=2")
    assert changed == Proxy(data=images, epochs=2, set=("mixup=0.2", "dropout=own"))
    assert changed.chosen_recipe() == replace(RECIPES["proxy"], epochs=2, mixup=0.2, dropout=None)
    with pytest.raises(MnasError, match="did you mean 'mixup'"):
        proxy_of(f"train:{images}?set=mixupp%3D0.2")


@pytest.mark.parametrize(
    "command",
    [
        ("train", "mnasnet_small", "--plan"),
        ("compare", "mnasnet_small", "mnasnet_b1", "--train"),
        ("ablate", "mnasnet_small"),
        ("family", "mnasnet_small", "--macs", "2x", "--train"),
        ("scaling-search", "mnasnet_small"),
        ("search", "--evaluator", "train"),
    ],
)
def test_every_command_that_trains_takes_files_and_changes(
    images: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wrong.toml").write_text("flipp = false")
    for words, message in (
        (("--recipe", "wrong.toml"), "wrong.toml: flipp: unknown field 'flipp'; did you mean 'flip'?"),
        (("--set", "mixupp=1"), "set: unknown field of a recipe 'mixupp'; did you mean 'mixup'?"),
        (("--recipe", "missing.toml"), "missing.toml"),
    ):
        assert main([*command, "--data", images, *words]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error


def test_adamw_is_the_published_one() -> None:
    """arXiv 1711.05101, algorithm 2, by hand: the decay is not part of the gradient."""
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(layer.weight, 2.0)
    optimizer = make_optimizer(layer, RECIPES["proxy"].with_values(optimizer="adamw", momentum=0.8, weight_decay=0.1))
    weight, first, second = 2.0, 0.0, 0.0
    for step, (rate, gradient) in enumerate(((0.1, 0.5), (0.05, -3.0), (0.2, 1.0)), 1):
        optimizer.param_groups[0]["lr"] = rate
        layer.weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        optimizer.step()
        first, second = 0.8 * first + 0.2 * gradient, 0.999 * second + 0.001 * gradient**2
        weight -= rate * 0.1 * weight
        weight -= rate * first / (1 - 0.8**step) / ((second / (1 - 0.999**step)) ** 0.5 + 1e-8)
        assert layer.weight.item() == pytest.approx(weight, rel=1e-12)
