"""Benchmarks: each measures Autostack beside a peer, in one run. `python -m bench --help` lists them."""
