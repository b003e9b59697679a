"""Every operator, module and optimizer that torch's own test data describes, on "cuda" against "cpu".

`python -m conformance.operators --help`. How it works and what it found: docs/conformance.md.
"""
