"""Tests of other projects on cuda, and ledgers of what may fail. `import torch` loads none of it."""
