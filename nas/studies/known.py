"""What is known before a search: the measurements of runs, tables and specs, for ``mnas search --from``.

Those that the search's own evaluator made are as good as its trials. Those of another evaluator, or on other images,
are only a hint: the controller decides what they are worth (`nas.controllers.bayesian`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baselines import load
from baselines.spec import BaselineSpec
from nas.evaluators.base import Metrics
from nas.evaluators.registry import load_evaluator, space_of
from nas.evaluators.table import TableEvaluator
from nas.journal import Journal
from nas.runs import kind_of
from nas.search_loop import SearchSettings
from nas.trial import Known, digest_of
from search_spaces import Genotype, MnasError, Space
from search_spaces.plugins import portable

# Of a source with more measurements, as many of the best are used.
MOST = 10_000
TABLES = (".csv", ".json", ".jsonl")


def read_known(sources: Sequence[str | Path], settings: SearchSettings) -> list[Known]:
    """Read what a search starts from.

    Args:
        sources: folders of searches, files of tables, and specs by name or file.
        settings: settings of the search.

    Returns:
        The measurements of each source, of networks of the search's space.

    Raises:
        MnasError: a source cannot be read, is of another space, holds nothing, or contradicts another one.
    """
    space = space_of(settings.space, settings.evaluator)
    known = [_read(str(source), settings, space) for source in sources]
    if len({each.source for each in known}) < len(known):
        raise MnasError("from: a source is given twice; remove one")
    _check_agreement([each for each in known if each.same], space)
    return known


def _read(source: str, settings: SearchSettings, space: Space) -> Known:
    path = Path(source)
    if path.is_dir():
        return _of_run(path, settings, space)
    if path.suffix in TABLES:
        return _of_table(path, settings, space)
    try:
        spec = load(source)
    except MnasError as error:
        raise MnasError(f"from: {source} is not the folder of a search, a table or a spec ({error})") from None
    return _of_spec(str(path.absolute()) if path.exists() else source, spec, settings, space)


def _of_run(folder: Path, settings: SearchSettings, space: Space) -> Known:
    if kind_of(folder) != "search":
        raise MnasError(f"from: {folder} holds no search; expected the folder of a search, a table, or a spec")
    with Journal.open(folder) as journal:
        then = journal.plain_settings
        if portable(str(then.get("space"))) != portable(settings.space):
            raise MnasError(
                f"from: {folder} searched the space {portable(str(then.get('space')))}, and this search "
                f"{portable(settings.space)}; use a run of the same space"
            )
        found = [record for record in journal.records() if record.metrics is not None]
        same = journal.has_evaluator_of(settings)
    found = sorted(found, key=lambda record: -record.metrics.accuracy if record.metrics else 0)[:MOST]
    if not found:
        raise MnasError(f"from: {folder} has no measured network; use another run")
    genotypes = _members([record.genotype for record in found], space, str(folder))
    for record, network in zip(found, space.decode_indices(space.indices(genotypes)), strict=True):
        if record.digest != digest_of(network):
            raise MnasError(
                f"from: trial {record.number} of {folder} was another network than its choices make in this space; use "
                "a run of the same space"
            )
    return Known(str(folder.absolute()), same, genotypes, [record.metrics for record in found if record.metrics])


def _of_table(file: Path, settings: SearchSettings, space: Space) -> Known:
    if settings.evaluator == f"table:{file.absolute()}":
        raise MnasError(f"from: {file} is the table of the evaluator, which costs nothing; remove it")
    table = TableEvaluator(file, space)
    rows = table.rows
    networks = space.decode_indices(rows)
    metrics = table.evaluate(networks)
    order = sorted(range(len(metrics)), key=lambda number: -metrics[number].accuracy)[:MOST]
    chosen = space.genotypes(rows[order])
    return Known(str(file.absolute()), False, chosen, [metrics[number] for number in order])


def _of_spec(source: str, spec: BaselineSpec, settings: SearchSettings, space: Space) -> Known:
    figure = next((each for each in spec.figures if each.metric == "top1"), None)
    if figure is None:
        raise MnasError(f"from: {spec.name} has no accuracy; use a spec that a search has frozen")
    try:
        genotype = space.encode(spec.architecture)
    except MnasError as error:
        raise MnasError(f"from: {spec.name} is not in the space {settings.space} ({error})") from None
    evaluator, search = load_evaluator(settings.evaluator, settings.space), spec.provenance.search
    same = (
        search is not None and search.evaluator == portable(settings.evaluator) and figure.source == evaluator.meaning
    )
    return Known(source, same, [genotype], [Metrics(figure.value, figure.std)])


def _members(genotypes: list[Genotype], space: Space, source: str) -> list[Genotype]:
    try:
        return space.genotypes(space.canonical(space.indices(genotypes)))
    except MnasError as error:
        raise MnasError(f"from: {source} is of another space ({error}); use a run of the same space") from None


def _check_agreement(known: Sequence[Known], space: Space) -> None:
    """Raise `MnasError` if two measurements of one network by the evaluator of the search differ."""
    before: dict[bytes, tuple[Metrics, str]] = {}
    for each in known:
        rows = space.canonical(space.indices(each.genotypes))
        for row, metrics in zip(rows, each.metrics, strict=True):
            other, source = before.setdefault(row.tobytes(), (metrics, each.source))
            if abs(other.accuracy - metrics.accuracy) > 1e-9:
                raise MnasError(
                    f"from: one network has an accuracy of {other.accuracy:.6f} in {source} and of "
                    f"{metrics.accuracy:.6f} in {each.source}, by the same evaluator; leave one of them out"
                )
