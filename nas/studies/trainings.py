"""Trainings of a study: many networks in folders of their own, trained on the same images and judged on each of them.

A comparison (`nas.studies.trained_comparison`) and the studies of `scaling` are made of these.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from baselines.comparators import Subject, counts_of
from baselines.files import write_new_text
from baselines.memory import device_here, free_bytes
from baselines.text import command, points
from baselines.threads import ThreadLimit
from baselines.training.data.sources import ImageData, load_data
from baselines.training.folder import check_empty, create_training, read_training, trained_network
from baselines.training.launch import planned, run_training
from baselines.training.settings import TrainingOptions, TrainingSettings, check_installed, network_of
from nas.executors.base import execution_of
from nas.record import exists
from nas.studies.contestants import Judged, read_judged
from nas.studies.engine import Call, Job
from nas.studies.journal import StudyJournal, check_kind
from search_spaces.errors import MnasError
from search_spaces.serialization import from_dict, read_text

if TYPE_CHECKING:
    from baselines.training.loop import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class StudyKind:
    """A kind of study that is made of trainings.

    Attributes:
        name: what a person calls it, such as "comparison".
        file: name of the file by which the folder of one is known.
        words: words of the command that resumes it.
    """

    name: str
    file: str
    words: tuple[str, ...]

    @property
    def one(self) -> str:
        """The name with its article."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"

    def resume(self, folder: Path) -> str:
        """The command that resumes a study."""
        return command(*self.words, "--resume", folder)

    def check_new(self, folder: Path) -> None:
        """Raise `MnasError` if the folder of a new study is not empty."""
        if (folder / self.file).is_file():
            raise MnasError(
                f"out: {folder} already holds {self.one}; choose another folder, or resume it with: "
                f"{self.resume(folder)}"
            )
        check_empty(folder)

    def images(
        self, folder: Path, source: str, options: TrainingOptions, execution: Mapping[str, Any] | None
    ) -> ImageData:
        """The images of a new study; whatever can be refused without them is refused before they are read.

        Args:
            folder: folder of the study, new or empty.
            source: images, as in `baselines.training.data.sources.load_data`.
            options: options of all trainings.
            execution: fields of the execution.

        Raises:
            MnasError: an option breaks its rule, the folder is not empty, or the images cannot be read or have no test
                part.
        """
        options.chosen_recipe()
        execution_of(divided(execution or {}))  # raises if it breaks a rule
        check_installed()
        self.check_new(folder)
        data = load_data(source, fit=options.fit, channels=options.image_channels)
        if not len(data.test):
            raise MnasError(f"data: {source} has no test images; add a folder test, or use one folder to split")
        return data

    def read(self, kind: type[T], folder: Path) -> T:
        """What the file of a study holds, as an object of a dataclass.

        Raises:
            MnasError: the folder holds no such study, or the file is damaged.
        """
        try:
            data = json.loads(read_text(folder / self.file, kind=self.name))
        except (MnasError, ValueError, RecursionError):
            raise MnasError(
                f"resume: {folder} holds no {self.name} ({self.file} cannot be read); use the folder of one"
            ) from None
        return from_dict(kind, data, self.name)


def planned_trainings(
    subjects: Sequence[Subject],
    data: ImageData,
    options: TrainingOptions,
    execution: Mapping[str, Any] | None = None,
) -> list[tuple[Subject, TrainingSettings]]:
    """Each network as it is trained, and its settings.

    Without a memory limit, workers share the free memory. In a process of its own, a training has as many threads as
    that has cores.
    """
    from baselines.training.memory_plan import SHARE

    where = execution_of(divided(execution or {}))
    if options.memory is None and where.workers > 1:
        options = replace(options, memory=int(SHARE * free_bytes(device_here()) / where.workers))
    with nullcontext() if where.executor == "in-process" else ThreadLimit(where.cores):
        return [planned(subject, data, options)[:2] for subject in subjects]


def divided(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an execution; the machine's cores are divided among the workers unless they are given."""
    workers = execution.get("workers", 1)
    return {"cores": max(1, (os.cpu_count() or 1) // workers), **execution} if workers > 1 else {**execution}


def start_trainings(
    folder: Path, trainings: Mapping[str, tuple[Subject, TrainingSettings]], files: Mapping[str, Any]
) -> None:
    """Create a folder with folders for trainings and some files, all at once, so that a kill leaves no part of it.

    Args:
        folder: the folder, new or empty.
        trainings: networks and their settings by the name of the training's folder.
        files: contents of further files by name: texts, or dataclasses for JSON.

    Raises:
        MnasError: it cannot be created.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".mnas-") as making:
            whole = Path(making) / "whole"
            for name, (subject, settings) in trainings.items():
                create_training(whole / name, subject, settings)
            for file, content in files.items():
                text = content if isinstance(content, str) else json.dumps(asdict(content), indent=2) + "\n"
                write_new_text(whole / file, text)
            os.replace(whole, folder)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be created ({error.strerror}); choose another folder") from None


def add_training(folder: Path, subject: Subject, settings: TrainingSettings) -> None:
    """Create the folder of one more training, at once, unless it already exists. Raises `MnasError` if it cannot be."""
    if folder.exists():
        return
    study = folder.absolute().parent
    try:
        # Outside the study's folder, where a kill may leave it.
        with tempfile.TemporaryDirectory(dir=study.parent, prefix=".mnas-") as making:
            create_training(Path(making) / folder.name, subject, settings)
            os.replace(Path(making) / folder.name, folder)
    except OSError as error:
        raise MnasError(f"{folder}: cannot be created ({error.strerror}); free some space and use --resume") from None


def judged_in(folder: Path, kind: str) -> dict[str, Judged]:
    """What is known of the trainings of a study that are done, by the names of their folders.

    Args:
        folder: folder of the study.
        kind: kind of the study.

    Raises:
        MnasError: the folder holds another kind of study, or its journal is damaged.
    """
    if not exists(StudyJournal, folder):
        return {}
    with StudyJournal.open(folder, allow_code=True) as journal:
        check_kind(journal, kind)
        keys = {job.number: job.key for job in journal.jobs()}
        return {keys[number]: stored.result for number, stored in journal.results(read_judged).items()}


def training_job(key: str, name: str, seed: int, subject: Subject, settings: TrainingSettings) -> Job:
    """The job of `train_and_judge` for one training.

    Args:
        key: name of the training's folder.
        name: name of the network.
        seed: seed of the training.
        subject, settings: network as it is trained, and settings.
    """
    weight = float(counts_of(network_of(subject))[0] * settings.recipe.epochs)
    return Job(key, f"{name}, seed {seed}", {"network": name, "seed": seed}, weight)


def train_and_judge(call: Call) -> dict[str, Any]:
    """Train one network with one seed in its folder. Returns which images it recognises, as `read_judged` reads it."""
    from baselines.training.loop import DivergenceError
    from baselines.training.predict import hits_of

    _, settings = read_training(call.folder)

    def watch(progress: Progress) -> None:
        text = f"epoch {progress.epoch}/{settings.recipe.epochs}, {progress.images_per_second:,.0f} images/s"
        if progress.accuracy is not None:
            text += f", val {points(progress.accuracy)}"
        call.report(progress.step / progress.steps, text)

    try:
        data, _ = run_training(call.folder, watch, call.stop)
    except DivergenceError as error:
        raise MnasError(f"{error}; start a new comparison with a lower --learning-rate for all networks") from None
    device = device_here()
    subject, _, network = trained_network(call.folder)
    network, side = network.to(device), network_of(subject).resolution
    test, val = (hits_of(network, part, side, device, settings.at_once) for part in (data.test, data.val))
    return Judged(test, val).as_dict()
