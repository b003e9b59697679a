"""torch_geometric on cuda, without its compiled companions: layers, pooling, and batches of graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

geometric = pytest.importorskip("torch_geometric")

LAYERS: dict[str, dict[str, Any]] = {
    "GCNConv": {},
    "GATConv": {"heads": 2},
    "GATv2Conv": {"heads": 2},
    "SAGEConv": {"aggr": "max"},
    "GraphConv": {"aggr": "mean"},
    "TransformerConv": {"heads": 2},
    "ChebConv": {"K": 3},
    "TAGConv": {},
    "SGConv": {"K": 2},
    "ARMAConv": {},
    "LEConv": {},
    "PNAConv": {"aggregators": ["mean", "max", "std"], "scalers": ["identity", "amplification"], "deg": [0, 2, 3, 1]},
    "GENConv": {"aggr": "softmax"},
    "ResGatedGraphConv": {},
    "ClusterGCNConv": {},
    "GeneralConv": {},
    "SuperGATConv": {"dropout": 0.0},
    "MFConv": {},
}


def graph() -> Any:
    torch.manual_seed(0)
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 1, 2, 5], [1, 0, 1, 2, 3, 4, 5, 5, 0]])
    return geometric.data.Data(x=torch.randn(6, 8), edge_index=edges, y=torch.tensor([0]))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_what_they_compute_on_the_cpu(name: str) -> None:
    results = []
    settings = {key: torch.tensor(value) if key == "deg" else value for key, value in LAYERS[name].items()}
    for device in ("cpu", "cuda"):
        data = graph().to(device)
        assert data.is_cuda == (device == "cuda")
        layer = getattr(geometric.nn, name)(8, 4, **settings)
        torch.manual_seed(1)
        layer.load_state_dict({key: torch.randn_like(value) if value.is_floating_point() else value
                               for key, value in layer.state_dict().items()})  # fmt: skip
        layer.to(device)
        x = data.x.requires_grad_()
        output = layer(x, data.edge_index)
        output.square().sum().backward()
        results.append((output.detach().cpu(), x.grad.cpu()))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("reduce", ["sum", "mean", "min", "max", "mul"])
def test_scatter_and_segments(reduce: str) -> None:
    source, index = graph().x, torch.tensor([0, 0, 2, 2, 2, 3])
    expected = geometric.utils.scatter(source, index, reduce=reduce)
    assert torch.equal(geometric.utils.scatter(source.cuda(), index.cuda(), reduce=reduce).cpu(), expected)
    if reduce != "mul":
        pointers = torch.tensor([0, 2, 2, 5, 6])
        expected = geometric.utils.segment(source, pointers, reduce=reduce)
        assert torch.equal(geometric.utils.segment(source.cuda(), pointers.cuda(), reduce=reduce).cpu(), expected)


def test_softmax_pooling_and_normalization_over_batches_of_graphs() -> None:
    results = []
    for device in ("cpu", "cuda"):
        batch = next(iter(geometric.loader.DataLoader([graph()] * 3, batch_size=3))).to(device)
        assert batch.batch.device.type == device
        normalized = geometric.nn.GraphNorm(8).to(device)(batch.x, batch.batch)
        dense, mask = geometric.utils.to_dense_batch(normalized, batch.batch)
        adjacent = geometric.utils.to_dense_adj(batch.edge_index, batch.batch)
        results.append([
            geometric.utils.softmax(batch.x, batch.batch),
            geometric.nn.global_mean_pool(normalized, batch.batch),
            geometric.nn.global_max_pool(normalized, batch.batch),
            geometric.nn.aggr.SortAggregation(k=2)(batch.x, batch.batch),
            geometric.nn.aggr.MedianAggregation().to(device)(batch.x, batch.batch),
            dense, mask, adjacent,
            *geometric.nn.dense_diff_pool(dense, adjacent, dense[..., :2], mask),
        ])  # fmt: skip
        assert {tensor.device.type for tensor in results[-1]} == {device}
    torch.testing.assert_close([tensor.cpu() for tensor in results[1]], results[0])


def test_a_model_learns_on_an_edge_index_of_its_own_class() -> None:
    """torch_geometric.EdgeIndex is a tensor class that keeps what it knows of its order, and multiplies as sparse."""
    data = graph().to("cuda")
    edges = geometric.EdgeIndex(data.edge_index, sparse_size=(6, 6)).sort_by("col").values
    assert edges.device == torch.device("cuda:0")
    model = geometric.nn.GraphSAGE(8, 16, num_layers=2, out_channels=2).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    target = torch.tensor([0, 1] * 3, device="cuda")
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(data.x, edges), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    rows = edges.sort_by("row").values
    torch.testing.assert_close((rows @ data.x).cpu(), rows.cpu() @ data.x.cpu())


def test_transforms_and_random_walks() -> None:
    data = geometric.transforms.Compose(
        [geometric.transforms.AddSelfLoops(), geometric.transforms.GCNNorm(), geometric.transforms.NormalizeFeatures()]
    )(graph().to("cuda"))
    assert data.edge_index.device == data.edge_weight.device == torch.device("cuda:0")
    dropped, _ = geometric.utils.dropout_edge(data.edge_index, p=0.5)
    negative = geometric.utils.negative_sampling(data.edge_index, num_nodes=6)
    nodes, part, *_ = geometric.utils.k_hop_subgraph(0, 2, data.edge_index, relabel_nodes=True)
    assert {tensor.device.type for tensor in (dropped, negative, nodes, part)} == {"cuda"}
    laplacian, weights = geometric.utils.get_laplacian(data.edge_index, normalization="sym", num_nodes=6)
    expected = geometric.utils.get_laplacian(data.edge_index.cpu(), normalization="sym", num_nodes=6)
    torch.testing.assert_close((laplacian.cpu(), weights.cpu()), expected)
