"""``ppo``: the controller of MnasNet and NASNet, a recurrent policy trained with proximal policy optimisation.

As published (NASNet, arXiv 1707.07012, appendix A; MnasNet, arXiv 1807.11626, section 5): one LSTM layer of 100 units,
one softmax for each decision, weights uniform in [-0.1, 0.1], an exponential moving average of past rewards with weight
0.95 as baseline.

Left open by the papers, our choice: Adam; clip 0.2 (usual for PPO) and 8 passes over a minibatch; embeddings of 32 for
the last decision.
Changed from the papers, which had 20,000 samples: learning rate 0.001 and entropy weight 0.5 (0.00035 and 0.00001
there), minibatches of 8 architectures (20), and what `nas.controllers.policy` adds, the elite with a weight of 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.policy import OVERSAMPLING, PolicyController
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, SearchSpace
from search_spaces.space import Indices

if TYPE_CHECKING:
    from torch import Tensor, nn

HIDDEN_UNITS = 100
EMBEDDING = 32
LEARNING_RATE = 0.001
CLIP = 0.2
PASSES = 8
ENTROPY_WEIGHT = 0.5
ELITE_WEIGHT = 2.0


class PPOController(PolicyController):
    """An LSTM that writes a genotype one decision after the other; see the module."""

    def __init__(self, space: SearchSpace, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # of the initial weights; samples are drawn with self.rng
            self._policy = _Policy(space.cardinalities)
        self._optimizer = torch.optim.Adam(self._policy.parameters(), lr=LEARNING_RATE)
        self._entropy = float("nan")

    def suggest(self, count: int) -> list[Genotype]:
        rows, self._entropy = self._policy.sample(OVERSAMPLING * count, self.floor, self.rng)
        return self.pick(rows, count)

    def update(self, trials: Sequence[Trial]) -> None:
        indices, found = self.learn_from(trials)
        if not len(indices):
            return
        import torch

        rows, advantages = torch.from_numpy(indices), torch.from_numpy(found).float()
        elite = torch.from_numpy(self._elite)
        with torch.no_grad():
            old_log_probability, _ = self._policy.score(rows)
        for _ in range(PASSES):
            log_probability, entropy = self._policy.score(rows)
            ratio = torch.exp(log_probability - old_log_probability)
            clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
            gain = torch.minimum(ratio * advantages, clipped * advantages).mean()
            imitation = self._policy.score(elite)[0].mean()
            loss = -gain - ENTROPY_WEIGHT * entropy.mean() - ELITE_WEIGHT * imitation
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    def diagnostics(self) -> Mapping[str, float]:
        return {"entropy": self._entropy}


class _Policy:
    """Probabilities of genotypes, decision by decision.

    ``impossible`` of shape (decisions, widest) masks the values that a decision with fewer choices does not have.
    """

    def __init__(self, cardinalities: Indices) -> None:
        import torch
        from torch import nn

        self._decisions, self._widest = len(cardinalities), int(cardinalities.max(initial=1))
        self._impossible = torch.arange(self._widest) >= torch.from_numpy(cardinalities)[:, None]
        # Row 0 starts a genotype; value v of decision d is row 1 + d * widest + v.
        self._embed = nn.Embedding(1 + self._decisions * self._widest, EMBEDDING)
        self._lstm = nn.LSTM(EMBEDDING, HIDDEN_UNITS, batch_first=True)
        self._heads = nn.Linear(HIDDEN_UNITS, self._decisions * self._widest)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def parameters(self) -> list[nn.Parameter]:
        return [p for module in (self._embed, self._lstm, self._heads) for p in module.parameters()]

    def sample(self, count: int, floor: float, rng: np.random.Generator) -> tuple[Indices, float]:
        """``count`` rows of indices, and the mean entropy of a decision of the policy in nats.

        Each decision is drawn uniformly with the probability ``floor``, else from the policy.
        """
        import torch

        rows = np.empty((count, self._decisions), dtype=np.int64)
        uniform = rng.random((count, self._decisions))
        tokens, state, entropies = torch.zeros(count, 1, dtype=torch.int64), None, []
        with torch.no_grad():
            for decision in range(self._decisions):
                hidden, state = self._lstm(self._embed(tokens), state)
                log_probabilities = self._log_probabilities(hidden, slice(decision, decision + 1))[:, 0]
                probabilities = log_probabilities.exp()
                possible = ~self._impossible[decision]
                probabilities = (1 - floor) * probabilities + floor * possible / possible.sum()
                entropies.append(_entropy(log_probabilities).mean())
                # Inverse of the cumulative distribution; the last possible value takes what rounding leaves over.
                above = torch.from_numpy(uniform[:, [decision]]) > probabilities.double().cumsum(1)
                last = int(possible.sum()) - 1
                chosen = above.sum(1).clamp_max(last)
                rows[:, decision] = chosen.numpy()
                tokens = (1 + decision * self._widest + chosen)[:, None]
        return rows, float(torch.stack(entropies).mean()) if entropies else 0.0

    def score(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each row, and its mean entropy of a decision: two tensors of shape (count,)."""
        import torch

        offsets = 1 + torch.arange(self._decisions) * self._widest
        tokens = torch.cat([torch.zeros(len(rows), 1, dtype=torch.int64), (rows + offsets)[:, :-1]], dim=1)
        hidden, _ = self._lstm(self._embed(tokens))
        log_probabilities = self._log_probabilities(hidden, slice(None))
        chosen = log_probabilities.gather(2, rows[:, :, None])[:, :, 0]
        return chosen.sum(1), _entropy(log_probabilities).mean(1)

    def _log_probabilities(self, hidden: Tensor, decisions: slice) -> Tensor:
        """Log-probabilities of shape (count, decisions, widest) from hidden states of (count, decisions, units)."""
        import torch

        weight = self._heads.weight.view(self._decisions, self._widest, -1)[decisions]
        bias = self._heads.bias.view(self._decisions, self._widest)[decisions]
        logits = torch.einsum("ndu,dvu->ndv", hidden, weight) + bias
        return logits.masked_fill(self._impossible[decisions], -1e9).log_softmax(2)


def _entropy(log_probabilities: Tensor) -> Tensor:
    return -(log_probabilities.exp() * log_probabilities).sum(-1)
