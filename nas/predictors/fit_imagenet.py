"""Fit the accuracy predictor of the package, and check it.

    python -m nas.predictors.fit_imagenet --train train.csv --valid valid.csv --out FILE.npz

It is fitted on the train split of Accel-NASBench (`nas.predictors.accel_nasbench`); its form was chosen on the valid
split.

1. *Teacher.* A Gaussian process over steps of the choices and a few totals of the network, averaged with perceptrons
   that are trained on the same rows. The kernel has linear, pairwise and smooth (ARD-RBF) parts, and the noise depends
   on the accuracy. Weights come from marginal likelihood. Some trainings failed, so residuals are reweighted as
   Student-t with 4 degrees of freedom.
2. *Student.* A perceptron of two SiLU layers with a linear skip learns the teacher's mean and log σ. It is trained on
   random members of the space, on mutations of the measured networks (which are not spread evenly over the space), and
   on networks that a search of the student prefers: a student trained only on random members is inaccurate where a
   search ends.

All values are in units of u = -log(100 - top-1 in percent), in which differences are comparable at all levels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import Tensor

from nas.predictors.accel_nasbench import fit_parser, read_measurements
from nas.predictors.imagenet import Student
from search_spaces import MnasError, StageSpace, load_stage_space
from search_spaces.space import Indices

Floats = NDArray[np.float64]

ABOUT = {
    "predicts": "top-1 accuracy on ImageNet under the shortened training schedule of Accel-NASBench",
    "space": "efficientnet",
    "data": "Accel-NASBench, train split, github.com/afzalxo/Accel-NASBench, Apache-2.0",
    "fitted_by": "nas/predictors/fit_imagenet.py",
}
STUDENT_T_FREEDOM = 4.0
PERCEPTRON_SHARE = 0.5


def training_noise(top1: Floats) -> Floats:
    """Return the standard deviation of a single training's top-1, in points.

    It falls smoothly from 0.38 below 60.5 % to 0.21 above. Source: networks that the benchmark's authors trained with
    three seeds.
    """
    return 0.21 + 0.17 / (1 + np.exp((top1 - 60.5) / 0.7))


def network_totals(space: StageSpace, indices: Indices) -> Floats:
    """Return totals of each network, which add information to its choices, as an array of shape (count, 6).

    The totals are logs of MACs, parameters, depth, hidden channels and receptive field, and the number of stages with
    squeeze-excite.
    """
    macs, params = space.costs(indices)
    codes = space.stage_codes(indices)
    sums = np.zeros((len(indices), 4))
    for stage in range(len(space.stages)):
        rows = []
        for architecture in space.decode_indices(space.stage_options(stage)):
            blocks = [block for block in architecture.blocks if block.stage == stage]
            field = sum((b.block.kernel_size - 1) * architecture.resolution / b.in_resolution for b in blocks)
            hidden = sum(block.hidden_channels for block in blocks)
            rows.append((len(blocks), hidden, field, float(blocks[0].squeeze_channels > 0)))
        sums += np.array(rows)[codes[:, stage]]
    return np.stack([np.log(macs), np.log(params), *np.log(sums[:, :3].T), sums[:, 3]], axis=1)


class Teacher:
    """The Gaussian process and the perceptrons, over standardised features; see the module."""

    def __init__(self, space: StageSpace, indices: Indices, top1: Floats, log: Callable[[str], None]) -> None:
        self.space = space
        self.num_steps = space.steps(indices[:1]).shape[1]
        features = self._raw(indices)
        self.mean, self.scale = features.mean(0), features.std(0).clamp_min(1e-9)
        self.features = (features - self.mean) / self.scale
        u = torch.tensor(-np.log(100 - top1))
        self.u_mean, self.u_scale = float(u.mean()), float(u.std())
        self.target = (u - self.u_mean) / self.u_scale
        self.top1 = top1
        self._fit_kernel(log)
        self._condition()
        log("perceptrons")
        self.perceptrons = fit_perceptrons(self.features.float(), self.target.float(), self._noise(top1).float())

    def _raw(self, indices: Indices) -> Tensor:
        return torch.tensor(np.concatenate([self.space.steps(indices), network_totals(self.space, indices)], axis=1))

    def _noise(self, top1: Floats) -> Tensor:
        return torch.tensor(training_noise(top1) / (100 - top1) / self.u_scale)

    def kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the covariance of standardised features, of shape (len(a), len(b))."""
        weights, n = self.weights, self.num_steps
        pairs, smooth = weights["pairs"].exp(), weights["smooth"].exp()
        result = weights["constant"].exp() + (a * weights["linear"].exp()) @ b.T
        pair_a, pair_b = a[:, :n], b[:, :n]
        crossed = (pair_a * pairs) @ pair_b.T
        result = result + 0.5 * (crossed**2 - (pair_a * pairs) ** 2 @ (pair_b**2).T)
        smooth_part = torch.exp(-0.5 * _squared_distance(a * smooth, b * smooth))
        return result + weights["smooth_variance"].exp() * smooth_part

    def _fit_kernel(self, log: Callable[[str], None], steps: int = 200, rows: int = 2000) -> None:
        """Fit the weights of the kernel by marginal likelihood, on a new random subset of the rows in each step."""
        width = self.features.shape[1]
        totals = width - self.num_steps
        self.weights = {
            "constant": torch.tensor(0.0),
            "linear": torch.cat([torch.full((self.num_steps,), -4.0), torch.full((totals,), -3.0)]),
            "pairs": torch.full((self.num_steps,), -3.5),
            "smooth": torch.full((width,), -2.0),
            "smooth_variance": torch.tensor(-2.0),
            "noise": torch.tensor(-0.3),
        }
        self.weights = {name: weight.double().requires_grad_() for name, weight in self.weights.items()}
        optimizer = torch.optim.Adam(self.weights.values(), lr=0.08)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        noise = self._noise(self.top1)
        generator = torch.Generator().manual_seed(0)
        for step in range(steps):
            part = torch.randperm(len(self.target), generator=generator)[:rows]
            x, y = self.features[part], self.target[part]
            factor = torch.linalg.cholesky(self.kernel(x, x) + torch.diag(self._scaled(noise[part]) ** 2))
            solved = torch.cholesky_solve(y[:, None], factor)[:, 0]
            loss = (0.5 * y @ solved + factor.diagonal().log().sum()) / len(part)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 20 == 0:
                log(f"kernel step {step}: negative log likelihood {loss.item():.4f} per row")
        for weight in self.weights.values():
            weight.requires_grad_(False)

    def _condition(self) -> None:
        """Condition on all rows, with three rounds of Student-t reweighting by leave-one-out residuals."""
        covariance = self.kernel(self.features, self.features)
        top1, weight = self.top1, np.ones(len(self.top1))
        for _ in range(3):
            noise = self._scaled(self._noise(top1)) ** 2 / torch.tensor(weight)
            self.factor = torch.linalg.cholesky(covariance + torch.diag(noise))
            inverse = torch.cholesky_inverse(self.factor)
            self.solved = inverse @ self.target
            self.leave_one_out = self.to_top1((self.target - self.solved / inverse.diagonal()).numpy())
            top1 = self.leave_one_out
            z = (self.top1 - top1) / training_noise(top1)
            weight = (STUDENT_T_FREEDOM + 1) / (STUDENT_T_FREEDOM + z**2)

    def _scaled(self, noise: Tensor) -> Tensor:
        """Return the noise times its fitted factor."""
        return noise * self.weights["noise"].exp() + 1e-3

    def to_top1(self, standardised: Floats) -> Floats:
        """Return top-1 in percent for standardised u."""
        return 100 - np.exp(-(standardised * self.u_scale + self.u_mean))

    def predict(self, indices: Indices) -> tuple[Floats, Floats]:
        """Return the mean of u, and the log of the standard deviation of a single training's top-1 in points."""
        means, stds = [], []
        for start in range(0, len(indices), 4000):
            x = (self._raw(indices[start : start + 4000]) - self.mean) / self.scale
            cross = self.kernel(x, self.features)
            explained = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
            prior = torch.cat([self.kernel(part, part).diagonal() for part in torch.split(x, 500)])
            variance = (prior - (explained**2).sum(0)).clamp_min(1e-9)
            perceptrons = perceptrons_mean(self.perceptrons, x.float()).double()
            mean = (1 - PERCEPTRON_SHARE) * cross @ self.solved + PERCEPTRON_SHARE * perceptrons
            top1 = self.to_top1(mean.numpy())
            model = variance.sqrt().numpy() * self.u_scale * (100 - top1)
            means.append(mean.numpy() * self.u_scale + self.u_mean)
            stds.append(np.log(np.hypot(model, training_noise(top1))))
        return np.concatenate(means), np.concatenate(stds)


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    return ((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T).clamp_min(0)


def fit_perceptrons(
    x: Tensor, y: Tensor, noise: Tensor, members: int = 40, hidden: int = 32, epochs: int = 100
) -> dict[str, Tensor]:
    """Train several perceptrons in parallel with a Huber loss in units of the noise, and return their weights."""
    generator = torch.Generator().manual_seed(0)
    sizes = [x.shape[1], hidden, hidden, 1]
    shapes = list(enumerate(pairwise(sizes)))
    weights = {f"weight{n}": torch.randn(members, i, o, generator=generator) / i**0.5 for n, (i, o) in shapes}
    weights |= {f"bias{n}": torch.zeros(members, 1, o) for n, (_, o) in shapes}
    weights["skip"] = torch.zeros(members, x.shape[1], 1)
    parameters = [parameter.requires_grad_() for parameter in weights.values()]
    batch_size = 256
    steps = epochs * len(x) // batch_size
    optimizer = torch.optim.AdamW(parameters, lr=4e-3, weight_decay=0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (members, batch_size), generator=generator)
        residual = (_perceptrons(weights, x[rows]) - y[rows]) / noise[rows] * 0.9
        loss = torch.nn.functional.huber_loss(residual, torch.zeros_like(residual), delta=1.5) * members
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()

    return {name: weight.detach() for name, weight in weights.items()}


def perceptrons_mean(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the mean output of the perceptrons, of shape (count,), for features of shape (count, features)."""
    return _perceptrons(weights, x.expand(len(weights["skip"]), *x.shape)).mean(0)


def _perceptrons(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return outputs of shape (members, count) for features of shape (members, count, features)."""
    hidden = x
    for layer in (0, 1):
        hidden = torch.nn.functional.silu(hidden @ weights[f"weight{layer}"] + weights[f"bias{layer}"])
    output: Tensor = hidden @ weights["weight2"] + weights["bias2"] + x @ weights["skip"]
    return output[..., 0]


def fit_student(space: StageSpace, indices: Indices, mean: Floats, log_std: Floats, hidden: int = 64) -> Student:
    """Train a perceptron to predict the teacher's mean and log σ."""
    torch.manual_seed(0)
    x = torch.tensor(2 * space.steps(indices) - 1, dtype=torch.float32)  # centred inputs train better
    target = torch.tensor(np.stack([mean, log_std], axis=1), dtype=torch.float32)
    centre, scale = target.mean(0), target.std(0)
    target = (target - centre) / scale
    layers = [torch.nn.Linear(x.shape[1], hidden), torch.nn.Linear(hidden, hidden), torch.nn.Linear(hidden, 2)]
    skip = torch.nn.Linear(x.shape[1], 2, bias=False)
    parameters = [p for layer in (*layers, skip) for p in layer.parameters()]

    def forward(batch: Tensor) -> Tensor:
        first = torch.nn.functional.silu(layers[0](batch))
        output: Tensor = layers[2](torch.nn.functional.silu(layers[1](first))) + skip(batch)
        return output

    batch_size, steps, rate = 2048, 25_000, 1e-2
    optimizer = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (batch_size,))
        loss = ((forward(x[rows]) - target[rows]) ** 2 * torch.tensor([1.0, 0.02])).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    arrays = {f"weight{i}": layer.weight.detach().T.numpy() for i, layer in enumerate(layers)}
    arrays |= {f"bias{i}": layer.bias.detach().numpy() for i, layer in enumerate(layers)}
    arrays["skip"] = skip.weight.detach().T.numpy()
    for name in ("weight2", "bias2", "skip"):
        arrays[name] = arrays[name] * scale.numpy()
    # Fold the centring into the weights: the student takes steps of 0 and 1.
    arrays["bias0"] = arrays["bias0"] - arrays["weight0"].sum(0)
    arrays["bias2"] = arrays["bias2"] - arrays["skip"].sum(0) + centre.numpy()
    arrays["weight0"], arrays["skip"] = 2 * arrays["weight0"], 2 * arrays["skip"]
    return Student(space, arrays)


def mutations(space: StageSpace, indices: Indices, rng: np.random.Generator, count: int) -> Indices:
    """Return ``count`` mutations of random rows, each with one to seven choices drawn again."""
    parents = indices[rng.integers(0, len(indices), count)]
    rank = np.argsort(np.argsort(rng.random(parents.shape), axis=1), axis=1)
    return np.where(rank < rng.integers(1, 8, (count, 1)), space.sample_indices(rng, count), parents)


def preferred(space: StageSpace, student: Student, rng: np.random.Generator) -> Indices:
    """Return networks that a search of the student prefers: stops of hill climbs under 40 limits on MACs."""
    limits = np.repeat(np.geomspace(60e6, 850e6, 40), 60)
    rows = space.sample_indices(rng, len(limits))

    def score(candidates: Indices) -> Floats:
        macs, _ = space.costs(candidates)
        mean, _ = student.outputs(space.stage_codes(candidates))
        return np.where(macs <= limits, mean, -10 - macs / limits)

    best, visited = score(rows), []
    for step in range(1200):
        columns = rng.random(rows.shape) < 2 / rows.shape[1]
        candidates = np.where(columns, space.sample_indices(rng, len(rows)), rows)
        scores = score(candidates)
        better = scores > best
        rows, best = np.where(better[:, None], candidates, rows), np.where(better, scores, best)
        if step % 150 == 149:
            visited.append(rows)
    return np.unique(np.concatenate(visited), axis=0)


def quality(top1: Floats, mean: Floats, std: Floats | None = None) -> dict[str, float]:
    """Return Kendall tau, R², mean absolute error in points and, with ``std``, standard deviation of the z-scores."""
    residual = top1 - mean
    explained = 1 - float((residual**2).sum() / ((top1 - top1.mean()) ** 2).sum())
    figures = {"kendall_tau": float(kendalltau(mean, top1)[0]), "r2": explained, "mae": float(np.abs(residual).mean())}
    return figures if std is None else {**figures, "z_std": float((residual / std).std())}


def main() -> None:
    """Fit, check and write."""
    parser = fit_parser("Fit the predictor of shortened-schedule ImageNet accuracy.")
    arguments = parser.parse_args()
    started = time.time()

    def log(line: str) -> None:
        print(f"{time.time() - started:6.0f} s  {line}", flush=True)

    def formatted(figures: dict[str, Any]) -> str:
        return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())

    space = load_stage_space("efficientnet")
    try:
        train, valid = (read_measurements(file, space) for file in (arguments.train, arguments.valid))
    except MnasError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    teacher = Teacher(space, *train, log)
    log(f"Gaussian process, leave-one-out on train: {formatted(quality(train[1], teacher.leave_one_out))}")
    mean, log_std = teacher.predict(valid[0])
    log(f"teacher on valid: {formatted(quality(valid[1], 100 - np.exp(-mean), np.exp(log_std)))}")

    rng = np.random.default_rng(0)
    pool = np.concatenate([space.sample_indices(rng, 80_000), train[0], mutations(space, train[0], rng, 100_000)])
    labels = teacher.predict(pool)
    log(f"labelled {len(pool)} members")
    student = fit_student(space, pool, *labels)
    for round_number in (1, 2):
        found = preferred(space, student, rng)
        new = teacher.predict(found)
        gap = np.exp(-new[0]) - np.exp(-student.outputs(space.stage_codes(found))[0])
        log(
            f"round {round_number}: student above teacher by {gap.mean():+.3f} points on {len(found)} preferred members"
        )
        pool = np.concatenate([pool, found])
        labels = (np.concatenate([labels[0], new[0]]), np.concatenate([labels[1], new[1]]))
        student = fit_student(space, pool, *labels)
    found = preferred(space, student, rng)
    gap = np.exp(-teacher.predict(found)[0]) - np.exp(-student.outputs(space.stage_codes(found))[0])
    log(
        f"finally: student above teacher by {gap.mean():+.3f} points (worst {gap.max():+.3f}) on {len(found)} preferred"
    )
    mean, log_std = student.outputs(space.stage_codes(valid[0]))
    figures = quality(valid[1], 100 - np.exp(-mean), np.exp(log_std))
    log(f"student on valid: {formatted(figures)}")
    student.save(arguments.out, json.dumps({**ABOUT, "valid": {name: round(v, 4) for name, v in figures.items()}}))
    log(f"wrote {arguments.out} ({arguments.out.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
