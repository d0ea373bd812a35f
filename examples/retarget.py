"""Find the baseline for a budget of 180M MACs, as a spec and as a network.

Run it in an empty directory: python retarget.py
"""

import nas
from search_spaces.network import build_network

found = nas.search(target_macs=180e6, trials=300, out="run")
found.freeze("mine")  # writes specs/mine.yaml

best = found.best
print(f"{best.cost.macs:,} MACs, {best.cost.params:,} parameters, predicted (shortened schedule): {best.metrics}")
network = build_network(best.architecture)
print(f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters in the module")
