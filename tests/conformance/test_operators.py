"""A sample of the operator sweep: `python -m conformance.operators` runs all of it.

float32: every operator, module and optimizer, its first two samples, forward, in place, out= and backward. Of the other
dtypes a part that a hash chooses, so that it is the same part everywhere.
"""

from __future__ import annotations

import hashlib

import pytest
import torch

from conformance.operators import ledger
from conformance.operators.subjects import subjects
from conformance.operators.worker import run
from torchdevice import _C

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

#: Of the dtypes other than float32, one in how many (subject, dtype) pairs is tried.
EVERY = 10
VARIANTS = {"float32": ("forward", "inplace", "out", "out_strided", "backward", "train", "eval", "error_inputs")}


def pieces() -> list[tuple[str, str]]:
    found = []
    for key, subject in subjects().items():
        for dtype in subject.dtypes():
            name = str(dtype).removeprefix("torch.")
            chosen = int(hashlib.sha256(f"{key} {name}".encode()).hexdigest(), 16) % EVERY == 0
            if name == "float32" or chosen:
                found.append((key, name))
    return found


@pytest.fixture(scope="module")
def entries() -> list[ledger.Entry]:
    return ledger.load(_C.native_backend_name())


@pytest.mark.usefixtures("every_warning")
@pytest.mark.parametrize(("key", "dtype"), pieces())
def test_as_on_the_cpu(key: str, dtype: str, entries: list[ledger.Entry]) -> None:
    subject = subjects()[key]
    only = VARIANTS.get(dtype, ()) if not key.startswith("optimizer") else ()
    result = run(subject, getattr(torch, dtype), limit=2 if dtype == "float32" else 1, only=only)
    assert ledger.unlisted(result, entries) == []
