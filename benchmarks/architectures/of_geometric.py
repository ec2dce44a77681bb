"""Small networks of PyTorch Geometric: nodes with features, and edges between them."""

from typing import Any

import torch
from torch import Tensor, nn

from architectures.architecture import Architecture, by, made

LIBRARY = "torch-geometric"
FEATURES = 12

GRAPH = {
    "x": f"float32[nodes, {FEATURES}] in -2..2",
    "edge_index": "int64[2, edges] in 0..7",
}
DIMS = {"nodes": "8..20", "edges": "10..40"}
"""Edges join the first eight nodes, which every graph has."""


class Pooled(nn.Module):
    """A graph network and the mean of its nodes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Nodes [n, f] and edges [2, e] to scores [3]."""
        scores: Tensor = self.head(self.network(x, edge_index).mean(0))
        return scores


def of(name: str, kind: str, **options: Any) -> Architecture:
    """A model of ``torch_geometric.nn`` with two layers."""
    build = by(f"torch_geometric.nn:{kind}", FEATURES, 16, 2, 5, **options)
    return Architecture(f"pyg-{name}", LIBRARY, build, GRAPH, DIMS)


def transformer() -> nn.Module:
    layer: nn.Module = made("torch_geometric.nn:TransformerConv", FEATURES, 8, heads=2)
    return Pooled(layer)


def principal() -> nn.Module:
    options = {"aggregators": ["mean", "max", "std"], "scalers": ["identity", "amplification"]}
    return Pooled(
        made("torch_geometric.nn:PNAConv", FEATURES, 16, deg=torch.tensor([1, 4, 6, 3, 2]), **options)
    )


ARCHITECTURES: tuple[Architecture, ...] = (
    of("gcn", "GCN"),
    of("sage", "GraphSAGE"),
    of("gin", "GIN"),
    of("gat", "GAT", v2=True, heads=2),
    Architecture("pyg-transformer", LIBRARY, transformer, GRAPH, DIMS),
    Architecture("pyg-pna", LIBRARY, principal, GRAPH, DIMS),
)
