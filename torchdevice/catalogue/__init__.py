"""The catalogue: every public name of torch, and what came of running it on device cuda here."""
