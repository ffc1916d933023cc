"""MuSe-GNN's training step in plain eager PyTorch, for `speed_embedding.py` to compare with.

The same losses as `infosem_jax.embedding`, one study after the other, with edges as lists that are
gathered and scattered, and a decoder of three plain linear layers on the table ``z z^T``, as the
authors' code has them. All studies are encoded once per step, which is to its advantage.
"""

# pyright: reportMissingImports=false

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Study(NamedTuple):
    """A study: features, who sends to whom, and the table of edges."""

    x: Tensor
    senders: Tensor
    receivers: Tensor
    adjacency: Tensor


class Shared(NamedTuple):
    """What two studies share: places of common genes, weights, and private genes of each."""

    here: Tensor
    there: Tensor
    weight: Tensor
    mine: Tensor
    theirs: Tensor


class Convolution(nn.Module):
    """`infosem_jax.nn.TransformerConv`: one linear map for queries, keys, values and skip."""

    def __init__(self, inputs: int, features: int, heads: int):
        super().__init__()
        self.heads, self.features = heads, features
        self.maps = nn.Linear(inputs, 4 * heads * features)

    def forward(self, study: Study, x: Tensor) -> Tensor:
        """Return new features of the nodes."""
        n, shape = len(x), (len(x), self.heads, self.features)
        q, k, v, skip = self.maps(x).chunk(4, 1)
        q, k, v = q.reshape(shape), k.reshape(shape), v.reshape(shape)
        logit = (q[study.receivers] * k[study.senders]).sum(2) * self.features**-0.5
        index = study.receivers[:, None].expand_as(logit)
        top = torch.full((n, self.heads), -torch.inf).scatter_reduce(0, index, logit, "amax")
        weight = (logit - top.detach()[study.receivers]).exp()
        total = torch.zeros(n, self.heads).index_add(0, study.receivers, weight)
        sent = (weight / total[study.receivers])[:, :, None] * v[study.senders]
        gathered = torch.zeros(shape).index_add(0, study.receivers, sent)
        return gathered.reshape(n, -1) + skip


class GraphNorm(nn.Module):
    """`infosem_jax.nn.GraphNorm`."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha, self.gamma = (nn.Parameter(torch.ones(channels)) for _ in range(2))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features normalised."""
        shifted = x - self.alpha * x.mean(0)
        return self.gamma * shifted / (shifted.square().mean(0) + 1e-5).sqrt() + self.beta


class MuSeGNN(nn.Module):
    """Studies of one label with their layers, those they share, and decoders."""

    def __init__(self, studies: Sequence[Study], dim: int = 32, heads: tuple[int, int] = (4, 2)):
        super().__init__()
        wide, middle = heads[0] * dim, heads[1] * dim
        self.first = nn.ModuleList(
            nn.ModuleList([Convolution(study.x.shape[1], dim, heads[0]), GraphNorm(wide)])
            for study in studies
        )
        self.inner = nn.ModuleList(
            [Convolution(wide, dim, heads[1]), Convolution(middle, dim, 1),
             Convolution(wide, dim, 1), GraphNorm(middle)]
        )  # fmt: skip
        self.decoders = nn.ModuleList(
            nn.ModuleList(nn.Linear(len(study.x), len(study.x)) for _ in range(3))
            for study in studies
        )

    def encode(self, i: int, study: Study) -> Tensor:
        """Embed the genes of a study."""
        conv, norm = self.first[i]  # pyright: ignore[reportGeneralTypeIssues]
        h = F.mish(norm(conv(study, study.x)))
        first, second, skip, norm = self.inner
        return second(study, F.mish(norm(first(study, h)))) + skip(study, h)

    def decode(self, i: int, z: Tensor) -> Tensor:
        """Return the log-odds of edges."""
        h = z @ z.T
        a, b, c = self.decoders[i]  # pyright: ignore[reportGeneralTypeIssues]
        return c(F.mish(b(F.mish(a(h)))))


def loss(
    model: MuSeGNN,
    studies: Sequence[Study],
    pairs: Mapping[tuple[int, int], Shared],
    partner: Sequence[int],
    *,
    contrast: float = 0.01,
    samples: int = 100,
) -> Tensor:
    """Return the loss of all studies, each with a partner.

    Parameters
    ----------
    model, studies
        The network and its data.
    pairs
        What each study shares with each other.
    partner
        The other study of each.
    contrast
        Weight of that term; 0 leaves it, and its random numbers, out.
    samples
        Private genes that are drawn from each of two studies.
    """
    z = [model.encode(i, study) for i, study in enumerate(studies)]
    total = torch.zeros(())
    for i, study in enumerate(studies):
        logit = model.decode(i, z[i])
        total = total + F.binary_cross_entropy_with_logits(logit, study.adjacency)
        j = partner[i]
        shared = pairs[i, j]
        if len(shared.here):
            cosine = F.cosine_similarity(z[i][shared.here], z[j][shared.there])
            total = total - (shared.weight * cosine).mean()
        if contrast and len(shared.mine) and len(shared.theirs):
            total = total + contrast * _contrast(studies, z, (i, j), shared, samples)
    return total


def load(model: MuSeGNN, params: Mapping[str, Any]) -> None:
    """Copy the parameters of `infosem_jax.embedding.network.init` of one group of studies."""

    def put(to: Tensor, value: Any) -> None:
        to.data = torch.tensor(np.array(value))

    def linear(to: nn.Linear, kernel: Any, bias: Any) -> None:
        put(to.weight, np.asarray(kernel).T)
        put(to.bias, bias)

    def norm(to: Any, own: Mapping[str, Any], i: int) -> None:
        for name in ("alpha", "beta", "gamma"):
            put(getattr(to, name), own[name][i])

    first, shared = params["input_0"], params["shared"]
    for i, (conv, each) in enumerate(model.first):  # pyright: ignore[reportGeneralTypeIssues]
        dense = first["TransformerConv_0"]["Dense_0"]
        # Rows of cells that pad a study meet zeros only.
        linear(conv.maps, dense["kernel"][i][: conv.maps.in_features], dense["bias"][i])
        norm(each, first["GraphNorm_0"], i)
        decoder = params["decoder_0"]
        for k, layer in enumerate(model.decoders[i]):  # pyright: ignore[reportArgumentType]
            linear(layer, decoder[f"w{k}"][i], decoder[f"b{k}"][i])
    for k in range(3):
        dense = shared[f"TransformerConv_{k}"]["Dense_0"]
        linear(model.inner[k].maps, dense["kernel"][0], dense["bias"][0])  # pyright: ignore
    norm(model.inner[3], shared["GraphNorm_0"], 0)


def _contrast(
    studies: Sequence[Study],
    z: Sequence[Tensor],
    pair: tuple[int, int],
    shared: Shared,
    samples: int,
) -> Tensor:
    anchors, positives = [], []
    for i, private in zip(pair, (shared.mine, shared.theirs), strict=True):
        gene = private[torch.randint(len(private), (samples,))]
        near = torch.multinomial(studies[i].adjacency[gene], 1)[:, 0]
        anchors.append(z[i][gene])
        positives.append(z[i][near])
    u = F.normalize(torch.cat([*anchors, *positives]))
    n = len(u)
    logit = (u @ u.T / 0.07).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logit, torch.arange(n).roll(n // 2))
