"""Benchmarks: each measures Autostack beside a peer, in one run, on this machine. `python -m bench --help` lists them."""
