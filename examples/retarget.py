"""My budget is 180M MACs: give me the baseline for it, as a spec and as a network.

Run in an empty directory: python retarget.py
"""

from pathlib import Path

from nas.freeze import spec_of_trial
from nas.journal import Journal
from nas.objective import make_objective
from nas.search import SearchSettings, run_search
from search_spaces.network import build_network

settings = SearchSettings(
    space="efficientnet",
    evaluator="imagenet",
    controller="bayesian",
    objective=make_objective("hard", 180_000_000),
    trials=300,
    seed=0,
)
with Journal.create(Path("run"), settings) as journal:
    run_search(settings, journal)
    best = journal.best()
    spec = spec_of_trial(journal, best, "mine")

print(f"{best.cost.macs:,} MACs, {best.cost.params:,} parameters, predicted (shortened schedule): {best.metrics}")
network = build_network(spec.architecture)
print(f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters in the module")
