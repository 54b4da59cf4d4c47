"""Benchmarks: recon and its peers side by side, on the same photos, one process after the other."""
