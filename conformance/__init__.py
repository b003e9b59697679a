"""What torch documents, called name by name on device cuda: nothing fails but what the ledger says must."""
