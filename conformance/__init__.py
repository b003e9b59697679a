"""Conformance: torch's surface on cuda held against its reference."""
