"""How an operator travels on device cuda: what the dispatcher, torch's yaml and the rules of codegen/ say of it."""
