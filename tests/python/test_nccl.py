"""torch.cuda.nccl between the devices of one process, and its errors, whose texts are those of torch's sources."""

from __future__ import annotations

from tests.conftest import RunPython


def test_collectives_and_errors(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        import torch.cuda.comm
        from torch.cuda import nccl

        def pair(*values, dtype=torch.float32):
            return [torch.tensor(v, device=f"cuda:{i}", dtype=dtype) for i, v in enumerate(values)]

        def lists(tensors):
            return [t.tolist() for t in tensors]

        from torchdevice import _C
        assert _C.torch_is_cuda_build() or nccl.version() == (2, 29, 3)
        assert nccl.is_available(pair([1.0], [2.0]))
        for op, expected in [(0, 5), (1, 6), (2, 3), (3, 2), (4, 2.5)]:
            tensors = pair([2.0], [3.0])
            nccl.all_reduce(tensors, op=op)
            assert lists(tensors) == [[expected], [expected]], (op, tensors)
        inputs = pair([2], [5], dtype=torch.int64)
        nccl.all_reduce(inputs, op=4)
        assert lists(inputs) == [[3], [3]]

        inputs, output = pair([1.0, 2.0], [3.0, 4.0]), torch.empty(2, device="cuda:1")
        nccl.reduce(inputs, output=output, root=1)
        assert output.tolist() == [4, 6] and lists(inputs) == [[1, 2], [3, 4]]
        nccl.broadcast(inputs, root=1)
        assert lists(inputs) == [[3, 4], [3, 4]]
        inputs, outputs = pair([1.0], [2.0]), [torch.empty(2, device=f"cuda:{i}") for i in range(2)]
        nccl.all_gather(inputs, outputs)
        assert lists(outputs) == [[1, 2], [1, 2]]
        inputs, outputs = pair([1.0, 2.0], [3.0, 4.0]), [torch.empty(1, device=f"cuda:{i}") for i in range(2)]
        nccl.reduce_scatter(inputs, outputs)
        assert lists(outputs) == [[4], [6]]
        leaf = torch.ones(2, device="cuda", requires_grad=True)
        nccl.all_reduce([leaf, torch.ones(2, device="cuda:1")])
        assert leaf.tolist() == [2, 2]

        here, there = pair([1.0, 2.0], [3.0, 4.0])
        def fails(text, call, *arguments, **keywords):
            try:
                call(*arguments, **keywords)
            except RuntimeError as error:
                assert str(error).splitlines()[0] == text, error
            else:
                raise AssertionError(text)

        fails("input sequence can't be empty", nccl.all_reduce, [])
        fails("inputs must be on unique devices", nccl.all_reduce, [here, here])
        fails("all inputs must have the same number of elements", nccl.all_reduce, [here, there[:1]])
        fails("all inputs and outputs must be of the same Tensor dtype", nccl.all_reduce, [here, there.double()])
        fails("input and output elements have to be cuda dense Tensors", nccl.all_reduce, [here.cpu()])
        fails("all inputs and outputs have to be contiguous", nccl.all_reduce, [here.repeat(2)[::2]])
        fails("input and output must be on the same device", nccl.all_reduce, [here, there], [there, here])
        fails(
            "inputs and outputs sequences have to be of the same length, "
            "but got input of length 1 and output of length 2",
            nccl.all_gather, [here], [here, there],
        )
        fails("output must be of size input_size * size_multiplier", nccl.all_gather, [here, there], [here, there])
        fails("invalid root", nccl.reduce, [here, there], here, root=2)
        fails("NCCL Error 4: invalid argument", nccl.all_reduce, [here], op=9)
        fails("number of streams is not equal to number of inputs", nccl.broadcast, [here, there], streams=[None])
        assert len(nccl.unique_id()) == 128 and nccl.unique_id() != nccl.unique_id()
        try:
            nccl.init_rank(2, nccl.unique_id(), 0)
        except NotImplementedError as error:
            assert "torchdevice has no NCCL" in str(error) and "use torch.distributed" in str(error)
        else:
            raise AssertionError
        assert torch.cuda.comm.reduce_add([here, there], destination=1).tolist() == [4, 6]
        """,
        TORCHDEVICE_COUNT="2",
    )
