"""``train:DATA?…``: accuracy of a network after a short training on a user's own images.

The proxy is part of the name, so that a journal says what its accuracies are: ``train:IMAGES?epochs=4&width=0.5``.
Every network is trained with the same seeds on the same images in the same order, at the resolution and with the
classes of the data, and judged on held-out images (`baselines.training`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from urllib.parse import parse_qsl, quote, urlencode

from baselines.notices import say
from baselines.text import OWN, Count, counted
from baselines.training.data.balance import recipe_lines
from baselines.training.data.decoding import check_channels
from baselines.training.data.fit import CROP, FITS, PAD, SQUASH
from baselines.training.data.sources import ImageData, load_data, located_data, stratified
from baselines.training.recipe import Recipe, check_augmentation
from baselines.training.recipe_files import DEFAULT, changes_of, is_packaged
from baselines.training.settings import MAX_THREADS, ShortTraining, check_installed, side_of
from nas.evaluators.base import Evaluator, Metrics, check_architecture
from search_spaces import Architecture, FieldError, MnasError
from search_spaces.adaptation import adapted
from search_spaces.architecture import check_int, check_name, check_number
from search_spaces.errors import shorten, unknown_name
from search_spaces.plugins import TRAIN_ON

PREFIX = TRAIN_ON
# Side of images of several sizes, in pixels, unless a resolution is given.
DEFAULT_SIDE = 64


@dataclass(frozen=True)
class ProxyOptions(ShortTraining):
    """Options of the short training that stands in for a full one.

    Attributes:
        images: number of images of the train part to use, each class in proportion; all by default.
        repeats: trainings of each network with different seeds; their mean is the accuracy, their spread is σ.
    """

    recipe: str = "proxy"
    images: Count | None = None
    repeats: Count = 1


@dataclass(frozen=True, kw_only=True)
class Proxy(ProxyOptions):
    """A short training that stands in for a full one.

    Attributes:
        data: source of the images, as in `baselines.training.data.sources.load_data`.
        fingerprint: fingerprint of the data; other data is refused. Empty if any data will do.
        threads: threads of a training on a CPU, on which its last bits depend; 0 for as many as there are.
        fit: as `ShortTraining`; if it is not given, the images are cropped if there is a fingerprint, as all were
            before there was a choice, and decide themselves otherwise.

    Raises:
        FieldError: a value breaks its rule.
    """

    data: str
    fingerprint: str = ""
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.data:
            raise FieldError("data", "missing; expected a folder of images (docs/training.md)")
        recipe = self.chosen_recipe()
        check_augmentation(recipe, self.image_channels)
        check_channels(self.image_channels)
        if not is_packaged(self.recipe):  # a file may change or be gone when a run is resumed
            own = {
                "recipe": DEFAULT,
                "set": changes_of(recipe, DEFAULT),
                "epochs": None,
                "no_flip": False,
                "balance": None,
            }
            for name, value in own.items():
                object.__setattr__(self, name, value)
        if self.fit is not None:
            check_name("fit", self.fit, FITS)
        bounds = {"epochs": (1, 100_000), "resolution": (8, 4096), "images": (2, 10**9)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and (name, value) != ("resolution", OWN):
                check_int(name, value, low, high)
        check_int("repeats", self.repeats, 1, 100)
        check_int("threads", self.threads, 0, MAX_THREADS)
        check_number("width", self.width, 0.05, 50)

    @property
    def name(self) -> str:
        """The evaluator's name, with all values that are not the default."""
        given = {
            item.name: value
            for item in fields(self)
            if item.name != "data" and (value := getattr(self, item.name)) != item.default
        }
        query = f"?{urlencode(given, doseq=True)}" if given else ""
        return f"{PREFIX}{quote(self.data, safe='/:. ~+,=')}{query}"


def proxy_of(name: str) -> Proxy:
    """The proxy that a name stands for.

    Raises:
        MnasError: a part of the name is unknown or breaks its rule.
    """
    from urllib.parse import unquote

    if not name.startswith(PREFIX):
        raise MnasError(f"evaluator: {shorten(name)} is not a proxy; expected a name that starts with {PREFIX}")
    path, _, query = name.removeprefix(PREFIX).partition("?")
    types: dict[str, Callable[[str], object]] = {
        "recipe": str,
        "width": float,
        "fingerprint": str,
        "fit": str,
        "balance": str,
        "resolution": _resolution,
        "no_flip": _flag,
    }
    values: dict[str, object] = {"data": unquote(path)}
    known = [item.name for item in fields(Proxy)]
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key == "set":
            values[key] = (*values.get(key, ()), text)  # type: ignore[misc]
            continue
        if key not in known or key in values:
            raise unknown_name("part of the proxy", key, known)
        try:
            values[key] = types.get(key, int)(text)
        except ValueError:
            raise FieldError(key, f"{shorten(text)} is not a number; fix the name of the evaluator") from None
    return Proxy(**values)  # type: ignore[arg-type]


def _flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(text)
    return text == "True"


def _resolution(text: str) -> int | str:
    return OWN if text == OWN else int(text)


class ProxyTraining(Evaluator):
    """Trains networks for a short time.

    Args:
        proxy: length and data of the training.

    Raises:
        MnasError: the data cannot be used, or has changed.
    """

    kind = "measured"
    noisy = True

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.name = proxy.name
        recipe = self.recipe
        epochs = counted(recipe.epochs, "epoch")
        share = counted(proxy.images, "image") if proxy.images else "all images"
        sides: dict[object, str] = {None: "their own size", OWN: "each network's own resolution"}
        side = sides.get(proxy.resolution, f"{proxy.resolution} px")
        width = f", {proxy.width:g} times as wide" if proxy.width != 1 else ""
        fit = {PAD: ", padded to squares", SQUASH: ", squashed to squares"}.get(proxy.fit or "", "")
        self.meaning = (
            f"top-1 on held-out images of {_short(proxy.data)} after {epochs} of {share} at {side}{fit}{width}: a "
            "proxy that ranks networks, not what a full training gives"
        )

    @property
    def recipe(self) -> Recipe:
        """The recipe of every training."""
        return self._proxy.chosen_recipe()

    @cached_property
    def data(self) -> ImageData:
        """The images, the train part reduced to as many as the proxy asks for."""
        check_installed()
        fit = self._proxy.fit or (CROP if self._proxy.fingerprint else None)
        loaded = load_data(self._proxy.data, fit=fit, channels=self._proxy.image_channels)
        if self._proxy.fingerprint and not loaded.has(self._proxy.fingerprint):
            raise MnasError(
                f"data: {self._proxy.data} has changed (fingerprint {loaded.fingerprint}, before "
                f"{self._proxy.fingerprint}); restore the images, or start a new run"
            )
        if self._proxy.images is None:
            return loaded
        chosen = stratified(loaded.train.labels, self._proxy.images)
        return replace(loaded, train=loaded.train.take(chosen))

    def adapted(self, architecture: Architecture) -> Architecture:
        """A network as it is trained: at the proxy's resolution and width, with the classes of the data."""
        side = side_of(self._proxy.resolution, architecture.resolution, self.data.side or DEFAULT_SIDE)
        return adapted(architecture, side, len(self.data.classes), self._proxy.width, in_channels=self.data.channels)

    def prepare(self) -> None:
        """Read the images."""
        _ = self.data

    def check(self, architecture: Architecture) -> None:
        """As in `Evaluator`; what depends on the images is only checked once they have been read."""
        check_architecture("train", architecture)
        if "data" in vars(self):
            self.adapted(architecture)
        elif self._proxy.resolution is not None:
            side = side_of(self._proxy.resolution, architecture.resolution, DEFAULT_SIDE)
            adapted(architecture, side, architecture.num_classes, self._proxy.width)

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        return [self._evaluate(self.adapted(architecture), seed) for architecture in architectures]

    def _evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        from baselines.training.loop import train
        from baselines.training.predict import accuracy_of

        found = []
        for repeat in range(self._proxy.repeats):
            recipe = self.recipe.with_values(flip=False if self.data.written else None)
            own_seed = self._proxy.repeats * seed + repeat
            trained = train(architecture, self.data, recipe, seed=own_seed, devices=1, threads=self._proxy.threads)
            device = next(trained.averaged.parameters()).device
            found.append(accuracy_of(trained.averaged, self.data.val, architecture.resolution, device))
        return Metrics(fmean(found), stdev(found) if len(found) > 1 else None)


def _short(source: str) -> str:
    """The name of a source without its folder."""
    return Path(source).name or source


def moved(name: str, data: str) -> str:
    """The evaluator's name with another place of the same images."""
    return replace(proxy_of(name), data=located_data(data)).name


def with_threads(name: str, threads: int) -> str:
    """The evaluator's name with the number of threads of each training, unless it has one."""
    proxy = proxy_of(name)
    return name if proxy.threads else replace(proxy, threads=threads).name


def evaluator_of(data: str, options: ProxyOptions) -> ProxyTraining:
    """The evaluator that trains on the images, which it identifies by their fingerprint.

    Raises:
        MnasError: the data cannot be used, or an option breaks its rule.
    """
    proxy = Proxy(data=located_data(data), **asdict(options))
    found = load_data(data, fit=proxy.fit, channels=proxy.image_channels)
    evaluator = ProxyTraining(
        replace(proxy, fingerprint=found.fingerprint, fit=None if found.fit == CROP else found.fit)
    )
    for line in (*([found.fit_note] if found.fit_note else []), *recipe_lines(found, evaluator.recipe)):
        say(f"mnas: {line}")
    return evaluator
