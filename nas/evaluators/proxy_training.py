"""``train:DATA?…``: accuracy of a network that is really trained, for a little while, on a person's own images.

The proxy is in the name, so that a journal says what its accuracies are: ``train:IMAGES?epochs=4&width=0.5``. Every
network is trained with the same seeds on the same images in the same order, at the side and with the classes of the
data, and judged on images that are held out (`baselines.training`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from statistics import fmean, stdev
from urllib.parse import parse_qsl, quote, urlencode

from baselines.training.data import ImageData, load_data, stratified
from baselines.training.recipe import Recipe, load_recipe
from baselines.training.run import check_installed
from nas.evaluators.base import Evaluator, Metrics
from search_spaces import Architecture, FieldError, MnasError
from search_spaces.adaptation import adapted
from search_spaces.architecture import check_int, check_number
from search_spaces.errors import shorten, unknown_name

PREFIX = "train:"
# Of images of several sizes, where no side is asked for.
DEFAULT_SIDE = 64


@dataclass(frozen=True)
class Proxy:
    """What stands for a full training.

    Attributes:
        data: as `baselines.training.data.load_data` takes it.
        recipe: by name.
        epochs: None for the recipe's.
        resolution: side of the images; None for that of the data.
        width: factor on the channels of every network.
        images: of the train part, as many of each class as its share; None for all.
        repeats: trainings with different seeds, of which the mean counts and σ is the spread.
        fingerprint: of the data; data that has another is refused. Empty where nobody says.

    Raises:
        FieldError: a value breaks its rule.
    """

    data: str
    recipe: str = "proxy"
    epochs: int | None = None
    resolution: int | None = None
    width: float = 1.0
    images: int | None = None
    repeats: int = 1
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not self.data:
            raise FieldError("data", "missing; give a folder of images (docs/training.md)")
        load_recipe(self.recipe)
        bounds = {"epochs": (1, 100_000), "resolution": (8, 4096), "images": (2, 10**9)}
        for name, (low, high) in bounds.items():
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), low, high)
        check_int("repeats", self.repeats, 1, 100)
        check_number("width", self.width, 0.05, 50)

    @property
    def name(self) -> str:
        """The evaluator's name: values that are not the default."""
        given = {
            item.name: value
            for item in fields(self)
            if item.name != "data" and (value := getattr(self, item.name)) != item.default
        }
        query = f"?{urlencode(given)}" if given else ""
        return f"{PREFIX}{quote(self.data, safe='/:. ~+,=')}{query}"


def proxy_of(name: str) -> Proxy:
    """The proxy that a name stands for.

    Raises:
        MnasError: a part of the name is unknown or breaks its rule.
    """
    from urllib.parse import unquote

    if not name.startswith(PREFIX):
        raise MnasError(f"evaluator: {shorten(name)} is no proxy; it begins with {PREFIX}")
    path, _, query = name.removeprefix(PREFIX).partition("?")
    types = {"recipe": str, "width": float, "fingerprint": str}
    values: dict[str, object] = {"data": unquote(path)}
    known = [item.name for item in fields(Proxy)]
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known or key in values:
            raise unknown_name("part of the proxy", key, known)
        try:
            values[key] = types.get(key, int)(text)
        except ValueError:
            raise FieldError(key, f"{shorten(text)} is not a number; mend the proxy") from None
    return Proxy(**values)  # type: ignore[arg-type]


class ProxyTraining(Evaluator):
    """Trains.

    Args:
        proxy: for how long, and on what.

    Raises:
        MnasError: the data cannot be used, or is not what it was.
    """

    kind = "measured"
    noisy = True

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.name = proxy.name
        recipe = self.recipe
        epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
        share = f"{proxy.images:,} images" if proxy.images else "all images"
        side = f"{proxy.resolution} px" if proxy.resolution else "their own size"
        width = f", {proxy.width:g} times as wide" if proxy.width != 1 else ""
        self.meaning = (
            f"top-1 on held-out images of {proxy.data} after {epochs} of {share} at {side}{width}: a "
            "proxy that ranks networks, not what a full training gives"
        )

    @property
    def recipe(self) -> Recipe:
        """What every network is trained with."""
        return load_recipe(self._proxy.recipe).shortened(self._proxy.epochs)

    @cached_property
    def data(self) -> ImageData:
        """The images, with as many to train on as the proxy asks for."""
        check_installed()
        loaded = load_data(self._proxy.data)
        if self._proxy.fingerprint not in ("", loaded.fingerprint):
            raise MnasError(
                f"data: {self._proxy.data} is not what it was (fingerprint {loaded.fingerprint}, then "
                f"{self._proxy.fingerprint}); bring the old images back, or begin a new run"
            )
        if self._proxy.images is None:
            return loaded
        chosen = stratified(loaded.train.labels, self._proxy.images)
        return replace(loaded, train=loaded.train.take(chosen))

    def adapted(self, architecture: Architecture) -> Architecture:
        """A network as it is trained: at the side and with the classes of the data, at the proxy's width."""
        side = self._proxy.resolution or self.data.side or DEFAULT_SIDE
        return adapted(architecture, side, len(self.data.classes), self._proxy.width)

    def check(self, architecture: Architecture) -> None:
        self.adapted(architecture)

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        return [self._evaluate(self.adapted(architecture), seed) for architecture in architectures]

    def _evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        from baselines.training.train import accuracy_of, train

        found = []
        for repeat in range(self._proxy.repeats):
            trained = train(architecture, self.data, self.recipe, seed=self._proxy.repeats * seed + repeat, devices=1)
            device = next(trained.averaged.parameters()).device
            found.append(accuracy_of(trained.averaged, self.data.val, architecture.resolution, device))
        return Metrics(fmean(found), stdev(found) if len(found) > 1 else None)


def with_fingerprint(proxy: Proxy) -> Proxy:
    """The proxy that also says what its data is now."""
    return Proxy(**{**asdict(proxy), "fingerprint": load_data(proxy.data).fingerprint})
