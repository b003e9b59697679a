"""Building: the backend that pip calls, and the wheels of a release, `python -m wheels` or `make wheels`."""
