"""Benchmarks; not installed. Run one as ``python -m bench.NAME`` from the repository's root."""
