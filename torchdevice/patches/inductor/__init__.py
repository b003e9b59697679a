"""torch.compile's default backend on cuda tensors: a switch before inductor, what it generates, what that calls."""
