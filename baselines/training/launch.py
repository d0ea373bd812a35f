"""Planning a training and running it to the end."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.comparators import Comparator, Subject
from baselines.files import replace_file
from baselines.notices import say
from baselines.scalars import Scalars
from baselines.training.data.sources import ImageData, located_data
from baselines.training.folder import (
    HISTORY,
    WEIGHTS,
    initial_weights,
    load_training_data,
    locked,
    read_training,
    train_in,
    weights_file,
)
from baselines.training.recipe import NOTHING_TO_FREEZE, Recipe, check_augmentation
from baselines.training.settings import (
    TrainingOptions,
    TrainingSettings,
    check_devices,
    network_of,
    trained_subject,
)
from search_spaces.errors import FieldError, MnasError
from search_spaces.serialization import read_text

if TYPE_CHECKING:
    from baselines.training.loop import Progress
    from baselines.training.memory_plan import MemoryPlan

HISTORY_COLUMNS = ("epoch", "step", "loss", "learning_rate", "val_accuracy")


def planned(
    subject: Subject,
    data: ImageData,
    options: TrainingOptions,
    recipe: Recipe | None = None,
) -> tuple[Subject, TrainingSettings, MemoryPlan]:
    """Plan a training: the network to train, all settings, and the memory plan.

    Args:
        subject: baseline or comparator.
        data: images to train on.
        options: choices of the user; a batch larger than the number of images is reduced to all images.
        recipe: recipe to use; by default the one in the options.

    Raises:
        FieldError, MnasError: an option breaks its rule, or the training does not fit into memory.
    """
    import torch

    from baselines.training.memory_plan import plan_memory

    if isinstance(subject, Comparator) and options.weights:
        raise MnasError(f"weights: {subject.name} always starts from fresh weights; remove --weights")
    if options.weights_of and not options.weights:
        raise MnasError("weights_of: there are no weights to choose from; use --weights FILE")
    if options.from_smaller and not options.weights:
        raise MnasError("from_smaller: there are no weights of a smaller network; use --weights FILE")
    subject = trained_subject(subject, data, options)
    gpus, recipe = torch.cuda.device_count(), recipe or options.chosen_recipe()
    recipe = recipe.with_values(flip=False if data.written else None)
    check_augmentation(recipe, data.channels)
    if recipe.freeze_epochs and not options.weights:
        raise MnasError(NOTHING_TO_FREEZE)
    check_devices(options.devices or 0, gpus)
    batch, count = recipe.batch, len(data.train)
    devices = options.devices or next(number for number in range(max(1, gpus), 0, -1) if batch % number == 0)
    if devices > count:
        raise MnasError(f"devices: {devices} devices for {count} training images; use at most one device per image")
    if batch % devices:
        raise FieldError("devices", f"{devices} must divide the batch of {batch}; change --batch or --devices")
    settings = TrainingSettings(
        data=located_data(data.source),
        seed=options.seed,
        precision=options.precision,
        compiled=int(options.compile),
        weights=str(weights_file(options.weights).absolute()) if options.weights else "",
        from_smaller=int(options.from_smaller),
        weights_of=options.weights_of or "",
        recipe=recipe.with_values(batch=min(batch, count) // devices * devices),
        fingerprint=data.fingerprint,
        classes=data.classes,
        network=subject.name if isinstance(subject, Comparator) else "",
        resolution=subject.resolution if isinstance(subject, Comparator) else None,
        devices=devices,
        sides=data.sides,
        fit=data.fit,
        channels=data.channels,
        threads=0 if gpus else torch.get_num_threads(),
    )
    initial_weights(subject, settings, tell=say)  # weights that do not fit must fail before a folder is created
    plan = plan_memory(
        network_of(subject),
        data,
        settings.recipe,
        limit=options.memory,
        micro_batch=options.micro_batch,
        precision=settings.precision,
        devices=settings.devices,
        compiled=bool(settings.compiled),
    )
    return subject, replace(settings, micro_batches=plan.micro_batches, recompute=int(plan.recompute)), plan


def run_training(
    folder: Path,
    watch: Callable[[Progress], None],
    stop: Callable[[], bool] = lambda: False,
    data: ImageData | None = None,
) -> tuple[ImageData, int]:
    """Start or resume the training in a folder, and run it until it ends or is stopped.

    Args:
        folder: folder of the training.
        watch: function that is called with the progress.
        stop: function that returns whether to stop.
        data: data of the training, if it is already loaded; None to load it.

    Returns:
        The data, and the number of steps that the network was trained for.

    Raises:
        KeyboardInterrupt: the training was stopped.
        MnasError: the data has changed, another process trains in the folder, or `baselines.training.loop.train`
            raised it.
    """
    _, settings = read_training(folder)
    with locked(folder), Scalars(folder / "tensorboard") as scalars:
        data = data or load_training_data(settings)
        if (folder / WEIGHTS).exists():
            from baselines.training.checkpoint import CHECKPOINT

            (folder / CHECKPOINT).unlink(missing_ok=True)  # left by a training that was killed just before its end
            return data, _last_step(folder)

        def watch_and_record(progress: Progress) -> None:
            scalars.write(progress.step, _scalars(progress))
            if progress.accuracy is not None:
                _append_to_history(folder / HISTORY, progress)
            watch(progress)

        if settings.devices == 1:
            train_in(folder, data, watch_and_record, stop)
        else:
            from baselines.training.ranks import train_in_ranks

            train_in_ranks(folder, settings.devices, watch_and_record, stop)
    return data, _last_step(folder)


def _scalars(progress: Progress) -> Mapping[str, float]:
    values = {"train/loss": progress.loss, "train/learning_rate": progress.rate}
    values["train/images_per_second"] = progress.images_per_second
    return values if progress.accuracy is None else {**values, "val/accuracy": progress.accuracy}


def _append_to_history(file: Path, progress: Progress) -> None:
    """Add the line of an epoch to the history.

    Lines of this epoch and later ones are replaced: they are from before a kill, perhaps with another learning rate.
    """
    try:
        lines = list(csv.reader(read_text(file, kind="history").splitlines()))[1:] if file.exists() else []
        lines = [line for line in lines if line and line[0].isdigit() and int(line[0]) < progress.epoch]
        values = [progress.epoch, progress.step, progress.loss, progress.rate, progress.accuracy]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([HISTORY_COLUMNS, *lines, values])
        replace_file(file, lambda stream: stream.write(text.getvalue().encode()))
    except OSError as error:
        raise MnasError(f"{file}: cannot be written ({error.strerror}); free some space and use --resume") from None


def _last_step(folder: Path) -> int:
    """The step in the last line of the history; 0 if there is none."""
    try:
        return int(list(csv.reader(read_text(folder / HISTORY, kind="history").splitlines()))[-1][1])
    except (MnasError, ValueError, IndexError):
        return 0
