"""DeepSEM's training step in plain eager PyTorch, for `speed_grn.py` to compare with.

The same objective as the default settings of `infosem_jax.grn`, up to constants, with every scalar
network evaluated at every entry of the batch, as DeepSEM does. Where DeepSEM forms an inverse, this
solves, and it computes no gradient of parameters that the phase at hand leaves alone: both are to
its advantage.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

VARIANCE_FLOOR = 1e-8


class DeepSEM(nn.Module):
    """The model; ``W[i, j]`` is the effect of gene ``rows[i]`` on gene j, as everywhere here."""

    rows: Tensor
    own: Tensor

    def __init__(self, genes: int, rows: np.ndarray, *, hidden: int = 128, alpha: float = 100.0):
        super().__init__()
        self.alpha = alpha
        self.encoder, self.decoder = _scalar_network(hidden, 2), _scalar_network(hidden, 1)
        self.latent = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, genes))
                for name in ("mean", "log_variance")
            }
        )
        start = 1 / (genes - 1) + 2e-4 * torch.rand(len(rows), genes)
        self.effect = nn.Parameter(start)
        self.register_buffer("rows", torch.as_tensor(rows))
        self.register_buffer("own", self.rows[:, None] == torch.arange(genes))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return squared error + divergence of z + L1 penalty, per cell and gene.

        Parameters
        ----------
        x, noise
            Expression and standard normal noise, [cells, genes].
        """
        W = self.effect.masked_fill(self.own, 0.0)
        location, log_variance = self.encoder(x[..., None]).unbind(-1)
        location, scale = self._absorbed(location, log_variance, W)
        one = x.new_ones(1, 1)
        prior = self._absorbed(self.latent["mean"](one), self.latent["log_variance"](one), W)
        u = self._propagate(location + scale * noise, W)
        error = (x - self.decoder(u[..., None])[..., 0]) ** 2
        penalty = self.alpha * self.effect.abs().mean()
        return error.mean() + _divergence(location, scale, *prior).mean() + penalty

    def networks(self) -> Iterator[nn.Parameter]:
        """Iterate over everything but the effects."""
        return (p for p in self.parameters() if p is not self.effect)

    def load(self, params: Mapping[str, Any]) -> None:
        """Take over the parameters of a fit of `infosem_jax.grn`."""
        pairs = [("encoder", "Dense_0", 0), ("encoder", "Dense_1", 2), ("encoder", "Dense_2", 4)]
        pairs += [("decoder", name, i) for _, name, i in pairs]
        latent = params["latent$params"]
        with torch.no_grad():
            self.effect.copy_(_tensor(params["effect_loc"]))
            for network, name, i in pairs:
                _copy(params[f"{network}$params"][name], getattr(self, network)[i])
            for name, head in self.latent.items():
                _copy(latent[f"{name}_hidden"], head[0])  # pyright: ignore[reportIndexIssue]
                _copy(latent[name], head[2])  # pyright: ignore[reportIndexIssue]

    def _absorbed(self, location: Tensor, log_variance: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        location = location - location[:, self.rows] @ W
        log_variance = log_variance - log_variance[:, self.rows] @ W
        return location, torch.sqrt(log_variance.exp() + VARIANCE_FLOOR)

    def _propagate(self, z: Tensor, W: Tensor) -> Tensor:
        matrix = torch.eye(len(W)) - W[:, self.rows]
        h = torch.linalg.solve(matrix, z[:, self.rows], left=False)
        return h if len(W) == W.shape[1] else z + h @ W


class Trainer:
    """Alternation between networks and effects, one RMSprop each, as DeepSEM's."""

    def __init__(self, model: DeepSEM, *, rate_networks: float = 1e-4, rate_edges: float = 2e-5):
        self.model = model
        self.groups = {"networks": list(model.networks()), "edges": [model.effect]}
        rates = {"networks": rate_networks, "edges": rate_edges}
        self.optimisers = {
            name: torch.optim.RMSprop(group, lr=rates[name]) for name, group in self.groups.items()
        }

    def step(self, x: Tensor, phase: str) -> float:
        """Move the parameters of one phase, and return the loss."""
        for name, group in self.groups.items():
            for parameter in group:
                parameter.requires_grad_(name == phase)
        optimiser = self.optimisers[phase]
        optimiser.zero_grad()
        loss = self.model(x, torch.randn_like(x))
        loss.backward()
        optimiser.step()
        return loss.item()


def _scalar_network(hidden: int, outputs: int) -> nn.Sequential:
    widths = (nn.Linear(1, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, outputs))
    return nn.Sequential(widths[0], nn.Tanh(), widths[1], nn.Tanh(), widths[2])


def _divergence(mean: Tensor, scale: Tensor, prior_mean: Tensor, prior_scale: Tensor) -> Tensor:
    ratio = (scale / prior_scale) ** 2
    return 0.5 * (ratio + ((mean - prior_mean) / prior_scale) ** 2 - 1 - ratio.log())


def _copy(layer: Mapping[str, Any], linear: Any) -> None:
    linear.weight.copy_(_tensor(layer["kernel"]).T)
    linear.bias.copy_(_tensor(layer["bias"]))


def _tensor(array: Any) -> Tensor:
    return torch.as_tensor(np.array(array))
