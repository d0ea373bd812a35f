"""``ppo``: the controller of MnasNet and NASNet, a recurrent policy trained with proximal policy optimisation.

As published (NASNet, arXiv 1707.07012, appendix A; MnasNet, arXiv 1807.11626, section 5): one LSTM layer of 100 units;
one softmax per decision; initial weights uniform in [-0.1, 0.1]; the baseline is an exponential moving average of past
rewards with weight 0.95.

Not specified in the papers, so our choice: Adam; clip 0.2 (usual for PPO); 3 passes over a minibatch; embeddings of
size 32 for the previous decision.

Changed from the papers, which had 20,000 samples: learning rate 0.0025 (they have 0.00035), entropy weight 0.5
(0.00001), minibatches of 12 architectures (20), and the additions of `nas.controllers.policy`, with an elite weight
of 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.policy import OVERSAMPLING, PolicyController
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space
from search_spaces.space import Indices

if TYPE_CHECKING:
    from torch import Tensor, nn

HIDDEN_UNITS = 100
EMBEDDING = 32
LEARNING_RATE = 0.0025
CLIP = 0.2
PASSES = 3
ENTROPY_WEIGHT = 0.5
ELITE_WEIGHT = 2.0


class PPOController(PolicyController):
    """An LSTM that generates a genotype decision by decision; see the module."""

    batch_size = 12

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # seeds the initial weights; samples are drawn with self.rng
            self._policy = _Policy(space.cardinalities)
        self._optimizer = torch.optim.Adam(self._policy.parameters(), lr=LEARNING_RATE, fused=True)
        self._entropy = float("nan")

    def suggest(self, count: int) -> list[Genotype]:
        rows, self._entropy = self._policy.sample(OVERSAMPLING * count, self.floor, self.rng)
        return self.pick(rows, count)

    def update(self, trials: Sequence[Trial]) -> None:
        indices, advantages_of_rows = self.learn_from(trials)
        if not len(indices):
            return
        import torch

        advantages, count = torch.from_numpy(advantages_of_rows).float(), len(indices)
        # Score batch and elite together: a pass hardly takes longer for twice as many rows.
        rows = torch.from_numpy(np.concatenate([indices, self._elite]))
        old_log_probability = None
        for _ in range(PASSES):
            log_probability, entropy = self._policy.score(rows)
            if old_log_probability is None:  # before the first step, the policy is the one that drew the batch
                old_log_probability = log_probability[:count].detach()
            ratio = torch.exp(log_probability[:count] - old_log_probability)
            clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
            gain = torch.minimum(ratio * advantages, clipped * advantages).mean()
            imitation = log_probability[count:].mean()
            loss = -gain - ENTROPY_WEIGHT * entropy[:count].mean() - ELITE_WEIGHT * imitation
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    def diagnostics(self) -> Mapping[str, float]:
        return {"entropy": self._entropy}


class _Policy:
    """The policy: probabilities of genotypes, decision by decision.

    ``_impossible``, of shape (decisions, widest), masks the values that a decision with fewer values does not have.
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
        """Return ``count`` rows of indices, and the policy's mean entropy per decision in nats.

        Each decision is drawn uniformly with probability ``floor``, otherwise from the policy.
        """
        # In numpy: with one small step per decision, torch would spend most of the time on call overhead.
        embedding, heads, bias = (
            tensor.detach().numpy() for tensor in (self._embed.weight, self._heads.weight, self._heads.bias)
        )
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        from_input, from_hidden, bias_input, bias_hidden = (
            getattr(self._lstm, name).detach().numpy() for name in names
        )
        inputs = embedding @ from_input.T + bias_input + bias_hidden
        heads, bias = heads.reshape(self._decisions, self._widest, -1), bias.reshape(self._decisions, self._widest)
        rows = np.empty((count, self._decisions), dtype=np.int64)
        uniform = rng.random((count, self._decisions))
        tokens = np.zeros(count, dtype=np.int64)
        units = HIDDEN_UNITS
        hidden = cell = np.zeros((count, units), dtype=np.float32)
        entropies = []
        for decision in range(self._decisions):
            gates = inputs[tokens] + hidden @ from_hidden.T
            # torch's order: input, forget, cell, output
            new = np.tanh(gates[:, 2 * units : 3 * units])
            let_in, forget, _, let_out = np.split(1 / (1 + np.exp(-gates)), 4, axis=1)
            cell = forget * cell + let_in * new
            hidden = let_out * np.tanh(cell)
            options = int((~self._impossible[decision]).sum())
            logits = hidden @ heads[decision, :options].T + bias[decision, :options]
            weights = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities = weights / weights.sum(axis=1, keepdims=True)
            entropies.append(-(probabilities * np.log(probabilities + 1e-30)).sum(axis=1).mean())
            mixed = (1 - floor) * probabilities + floor / options
            # Sample by the inverse of the cumulative distribution; the last value absorbs rounding errors.
            above = uniform[:, [decision]] > mixed.astype(np.float64).cumsum(axis=1)
            rows[:, decision] = above.sum(axis=1).clip(max=options - 1)
            tokens = 1 + decision * self._widest + rows[:, decision]
        return rows, float(np.mean(entropies)) if entropies else 0.0

    def score(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability of each row and its mean entropy per decision: two tensors of shape (count,)."""
        import torch

        offsets = 1 + torch.arange(self._decisions) * self._widest
        tokens = torch.cat([torch.zeros(len(rows), 1, dtype=torch.int64), (rows + offsets)[:, :-1]], dim=1)
        hidden, _ = self._lstm(self._embed(tokens))
        heads = self._heads.weight.view(self._decisions, self._widest, -1)
        logits = torch.einsum("ndu,dvu->ndv", hidden, heads) + self._heads.bias.view(self._decisions, self._widest)
        log_probabilities = logits.masked_fill(self._impossible, -1e9).log_softmax(2)
        chosen = log_probabilities.gather(2, rows[:, :, None])[:, :, 0]
        return chosen.sum(1), _entropy(log_probabilities).mean(1)


def _entropy(log_probabilities: Tensor) -> Tensor:
    return -(log_probabilities.exp() * log_probabilities).sum(-1)
