"""Networks by the names that users type (baselines, spec files, folders, torchvision's), or as objects."""

from __future__ import annotations

from pathlib import Path

from baselines.comparators import PREFIX, Comparator, Subject, load_comparator
from baselines.registry import load
from baselines.spec import BaselineSpec, Provenance
from search_spaces import Architecture, MnasError, digest

# What stands for a network in Python.
Network = str | BaselineSpec | Architecture | Comparator


def load_subject(name: str) -> Subject:
    """Load a network.

    Args:
        name: name of a baseline, path of a spec file, folder of a training or a search, or ``torchvision:NAME``.

    Raises:
        MnasError: the network is not found (the nearest name is suggested), or torchvision is not installed.
    """
    if name.startswith(PREFIX):
        return load_comparator(name)
    if Path(name).is_dir():
        from baselines.training.folder import is_training, read_training

        if is_training(Path(name)):
            return read_training(Path(name))[0]
    return load(name)


def subject_of(network: Network) -> Subject:
    """Return a network that is given by name, as a spec, as an architecture or as a comparator.

    Raises:
        MnasError: as `load_subject`.
        TypeError: it is something else.
    """
    if isinstance(network, str):
        return load_subject(network)
    if isinstance(network, Architecture):
        return BaselineSpec(f"architecture-{digest(network)[:8]}", network, Provenance("an Architecture in Python"))
    if not isinstance(network, BaselineSpec | Comparator):
        raise TypeError(f"network: expected a name, a spec or an Architecture, got {type(network).__name__}")
    return network


def spec_of(network: Network) -> BaselineSpec:
    """Return the spec of a network to scale, given as for `subject_of`.

    Raises:
        MnasError: as `subject_of`, or the network is one of torchvision's.
        TypeError: as `subject_of`.
    """
    # A name is refused before torchvision, which need not be installed, is asked for the network.
    subject = None if isinstance(network, str) and network.startswith(PREFIX) else subject_of(network)
    if not isinstance(subject, BaselineSpec):
        name = network if subject is None else subject.name
        raise MnasError(f"network: {name} has no architecture in this project; scale a spec instead")
    return subject
