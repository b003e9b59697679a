"""Sparse tensors on devices other than the current one."""

from __future__ import annotations

from tests.conftest import RunPython


def test_sparse_tensors_of_a_second_device(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from torch.cuda import comm

        second = torch.device("cuda", 1)
        x = torch.tensor([[0.0, 1.0], [2.0, 0.0]]).to_sparse().cuda()
        y = x.to(second)
        for tensor in (y, torch.empty_like(y), y.clone().coalesce(), torch.zeros_like(x, device=second), y * 2, y + y):
            assert tensor.device == tensor._indices().device == tensor._values().device == second, tensor
        assert torch.equal((x + y.to(x.device)).to_dense(), 2 * x.to_dense())
        assert x.to_sparse_csr().to(second).values().device == second
        assert [copy.device for copy in comm.broadcast(x, (0, 1))] == [x.device, second]
        assert torch.equal(comm.reduce_add((x, y)).to_dense(), 2 * x.to_dense())
        """,
        TORCHDEVICE_COUNT="2",
    )
