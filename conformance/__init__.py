"""Conformance: torch's names and operators on cuda, held against what they do elsewhere."""
