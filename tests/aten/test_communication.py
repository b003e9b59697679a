"""torch.cuda.comm and nn.DataParallel over two simulated devices.

The error texts are those of torch/csrc/cuda/comm.cpp; nothing here was compared with a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

PROGRAM = """
import re
import warnings

import torch
from torch import nn
from torch.cuda import comm

D0, D1, CPU = torch.device("cuda:0"), torch.device("cuda:1"), torch.device("cpu")


def raises(text, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except RuntimeError as error:
        assert str(error).splitlines()[0] == text, error
    else:
        raise AssertionError(f"no error: {text}")


def devices(tensors):
    return [t.device for t in tensors]


"""

BROADCAST = """
x = torch.arange(6.0).view(2, 3)
for source in (x, x.to(D0), x.to(D1), x.t().contiguous().t()):
    copies = comm.broadcast(source, (0, 1))
    assert devices(copies) == [D0, D1] and all(torch.equal(c.cpu(), x) for c in copies)
    assert all((c.data_ptr() == source.data_ptr()) == (c.device == source.device) for c in copies)
assert devices(comm.broadcast(x.to(torch.complex64), ["cuda:1", 0])) == [D1, D0]
out = [torch.empty(2, 3, device=d) for d in (D1, D0, D1)]
results = comm.broadcast(x.to(D0), out=out)
assert all(r is o and torch.equal(r.cpu(), x) for r, o in zip(results, out))
raises("Expected non-negative device index, but got -1", torch._C._broadcast, x, [0, -1])
raises("Expected all output tensors to be CUDA tensors, but output tensor at index 1 has device 'cpu'",
       comm.broadcast, x, out=[out[0], x.clone()])
raises("Expected all output tensors to have same shape as the source tensor [2, 3], "
       "but output tensor at index 0 has shape [3, 2]", comm.broadcast, x, out=[out[0].t()])
raises("Exactly one of 'devices' and 'out' must be specified, but got devices=None and out=None", comm.broadcast, x)

mixed = [x.to(D0), torch.arange(5, device=D0), torch.ones(4, device=D0),
         torch.empty(0, device=D0), torch.arange(9, device=D0), torch.ones(3, device=D0, dtype=torch.bfloat16)]
for size in (1, 40, 1 << 20):
    first, second = comm.broadcast_coalesced(mixed, (0, 1), size)
    assert all(a is b for a, b in zip(first, mixed))
    assert devices(second) == [D1] * len(mixed)
    for a, b in zip(mixed, second):
        assert a.dtype == b.dtype and a.layout == b.layout and torch.equal(a.cpu(), b.cpu())
second[0].add_(1)
assert (second[0]._version, second[2]._version) == (1, 0)
raises("All tensors must be on devices[0]: 1", comm.broadcast_coalesced, mixed, (1, 0))
"""

SCATTER = """
x = torch.arange(28.0).view(7, 4)
for source in (x, x.to(D0), x.to(D1)):
    for dim in (0, 1, -1):
        chunks = comm.scatter(source, (0, 1), dim=dim)
        assert devices(chunks) == [D0, D1]
        assert all(torch.equal(a.cpu(), b) for a, b in zip(chunks, x.chunk(2, dim)))
    chunks = comm.scatter(source, (1, 0), chunk_sizes=(5, 2))
    assert devices(chunks) == [D1, D0] and torch.equal(chunks[1].cpu(), x[5:])
assert comm.scatter(x.to(D0), (0, 1))[0].data_ptr() != 0
out = [torch.empty(3, 4, device=D1), torch.empty(4, 4, device=D0)]
results = comm.scatter(x, out=out)
assert all(r is o for r, o in zip(results, out)) and torch.equal(torch.cat([r.cpu() for r in results]), x)
streams = [torch.cuda.Stream(0), torch.cuda.Stream(1)]
before = [torch.cuda.current_stream(i) for i in (0, 1)]
assert torch.equal(comm.scatter(x, (0, 1), streams=streams)[1].cpu(), x[4:])
assert torch.equal(comm.scatter(x, (0, 1), streams=[None, streams[1]])[1].cpu(), x[4:])
assert [torch.cuda.current_stream(i) for i in (0, 1)] == before and torch.cuda.current_device() == 0
raises("Expected the device associated with the stream at index 0 (was 1) to match the device supplied at that "
       "index (expected 0)", comm.scatter, x, (0, 1), streams=streams[::-1])
raises("Unknown data type found in stream list. Need torch.cuda.Stream or None",
       comm.scatter, x, (0, 1), streams=[1, 2])
raises("Expected at least one device to scatter to", comm.scatter, x, ())
raises("Expected devices and chunk_sizes to be of same length, but got len(devices) = 2 and len(chunk_sizes) = 1",
       comm.scatter, x, (0, 1), chunk_sizes=(7,))
raises("split_with_sizes expects split_sizes to sum exactly to 7 (input tensor's size at dimension 0), but got "
       "split_sizes=[1, 2]", comm.scatter, x, (0, 1), chunk_sizes=(1, 2))
raises("Expected at least one output tensor to scatter to", comm.scatter, x, out=[])
raises("Expected all output tensors to be CUDA tensors, but output tensor at index 0 has device 'cpu'",
       comm.scatter, x, out=[x.clone()])
raises("Output tensor at index 0 has incorrect shape: [1, 3, 4]. Expected same shape except for scatter dim 0 as "
       "the source tensor: [7, 4]", comm.scatter, x, out=[out[0].unsqueeze(0), out[1]])
raises("Total size for output tensors along scatter dim 0 does not match the source tensor size at dim 0. Expected "
       "7, but got total size 4", comm.scatter, x, out=[out[1]])
"""

GATHER = """
x = torch.arange(24.0).view(6, 4)
parts = comm.scatter(x, (0, 1))
assert comm.gather(parts).device == D0 and torch.equal(comm.gather(parts).cpu(), x)
assert comm.gather(parts, dim=1, destination=1).shape == (3, 8)
assert comm.gather(parts, dim=-1, destination="cuda:1").device == D1
for cpu in ("cpu", CPU):
    assert comm.gather(parts, destination=cpu).device == CPU
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert comm.gather(parts, destination=-1).device == CPU
assert "Using -1 to represent CPU tensor is deprecated" in str(caught[0].message)
with torch.cuda.device(1):
    assert comm.gather(parts).device == D1
out = torch.empty(6, 4, device=D1)
assert comm.gather(parts, out=out) is out and torch.equal(out.cpu(), x)
host = torch.empty(6, 4)
assert torch.equal(comm.gather(parts, out=host), x)
images = [torch.ones(1, 2, 3, 3, device=d).to(memory_format=torch.channels_last) for d in (D0, D1)]
assert comm.gather(images).is_contiguous(memory_format=torch.channels_last)
assert comm.gather([images[0], images[1].contiguous()]).is_contiguous()
raises("Expected at least one tensor to gather from", comm.gather, [])
raises("Expected all input tensors to be CUDA tensors, but tensor at index 1 has device cpu",
       comm.gather, [parts[0], host])
raises("Expected all input tensors to be CUDA tensors, but tensor at index 1 has device 'cpu'",
       comm.gather, [parts[0], host], out=out)
raises("Expected all input tensors to have the same number of dimensions, but tensor at index 1has 1 dimensions, "
       "(expected 2)", comm.gather, [parts[0], parts[1][0]])
raises("Input tensor at index 1 has invalid shape [3, 3], but expected [3, 4]",
       comm.gather, [parts[0], parts[1][:, 1:]])
raises("Expected out tensor to have shape [6, 4], but got [4, 6]", comm.gather, parts, out=out.t())
"""

REDUCE = """
x = torch.arange(6.0).view(2, 3)
inputs = [x.to(D0), x.to(D1) * 10]
total = comm.reduce_add(inputs)
assert total.device == D0 and torch.equal(total.cpu(), x * 11)
assert comm.reduce_add(inputs, destination=1).device == D1
assert torch.equal(inputs[0].cpu(), x)
many = [[t, t[0], t.long()] for t in inputs]
summed = comm.reduce_add_coalesced(many, destination=0, buffer_size=8)
assert devices(summed) == [D0] * 3 and torch.equal(summed[1].cpu(), x[0] * 11)
assert torch.equal(summed[2].cpu(), x.long() * 11)
"""

DATA_PARALLEL = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(5, 8)
        self.norm = nn.BatchNorm1d(8, track_running_stats=True)
        self.b = nn.Linear(8, 2)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x, *, shift, options=None):
        h = self.b(torch.relu(self.norm(self.a(x)))) * self.scale + shift
        return {"out": h, "pair": (h.sum(dim=1), [x])}


torch.manual_seed(0)
net = Net().to(D0).eval()
x, shift = torch.randn(7, 5, device=D0), torch.randn(7, 2, device=D0)
expected = net(x, shift=shift)
expected["out"].pow(2).sum().backward()
gradients = [p.grad.clone() for p in net.parameters()]
net.zero_grad()
parallel = nn.DataParallel(net, device_ids=[0, 1])
got = parallel(x, shift=shift, options={"k": 1})
assert got["out"].device == D0
torch.testing.assert_close(got["out"], expected["out"])
torch.testing.assert_close(got["pair"][0], expected["pair"][0])
assert torch.equal(got["pair"][1][0], x)
got["out"].pow(2).sum().backward()
for parameter, gradient in zip(net.parameters(), gradients):
    torch.testing.assert_close(parameter.grad, gradient)

moved = nn.DataParallel(net, device_ids=[0, 1], output_device=1)(x, shift=shift)
assert moved["out"].device == D1
one = nn.DataParallel(net, device_ids=[0, 1])(x[:1], shift=shift[:1])
torch.testing.assert_close(one["out"], expected["out"][:1])
torch.testing.assert_close(nn.parallel.data_parallel(net, x, (0, 1), module_kwargs={"shift": shift})["out"],
                           expected["out"])
assert set(parallel.state_dict()) == {"module." + k for k in net.state_dict()}

replicas = nn.parallel.replicate(net, (0, 1))
assert [next(r.parameters(), r.a.weight).device for r in replicas] == [D0, D1]
assert replicas[1].scale.device == D1
chunks = nn.parallel.scatter((x, shift), (0, 1))
outputs = nn.parallel.parallel_apply(replicas, [c[:1] for c in chunks], [{"shift": c[1]} for c in chunks], [0, 1])
assert [o["out"].device for o in outputs] == [D0, D1]
torch.testing.assert_close(nn.parallel.gather([o["out"] for o in outputs], 0), expected["out"])

net.train()
parallel(x, shift=shift)["out"].sum().backward()
assert net.norm.num_batches_tracked.item() == 1

raises("module must have its parameters and buffers on device cuda:0 (device_ids[0]) but found one of them on "
       "device: cuda:1", nn.DataParallel(Net().to(D1), device_ids=[0, 1]), x, shift=shift)


class Fails(nn.Module):
    def forward(self, x):
        raise ValueError("in a replica")


try:
    nn.DataParallel(Fails(), device_ids=[0, 1])(x)
except ValueError as error:
    assert "Caught ValueError in replica 0 on device 0." in str(error)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 4, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


recurrent = Recurrent().to(D0)
torch.testing.assert_close(nn.DataParallel(recurrent, [0, 1])(x[:, None]), recurrent(x[:, None]))
"""


@pytest.mark.parametrize(
    "body",
    [BROADCAST + SCATTER + GATHER + REDUCE, DATA_PARALLEL],
    ids=["comm", "data_parallel"],
)
def test_two_devices(run_python: Callable[..., object], body: str) -> None:
    run_python(PROGRAM + body, TORCHDEVICE_COUNT="2")
