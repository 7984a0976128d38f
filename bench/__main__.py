"""`python -m bench NAME`: run a benchmark. Its last line is its result as JSON."""

from __future__ import annotations

import argparse

from bench import api, deploy, ecs, pages, proxy, publish

BENCHMARKS = {
    "api": api.run,
    "deploy": deploy.run,
    "ecs": ecs.run,
    "pages": pages.run,
    "proxy": proxy.run,
    "publish": publish.run,
}


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Autostack beside a peer.")
    parser.add_argument("name", choices=BENCHMARKS)
    rounds = "counted rounds (default 5); api, deploy, pages and proxy begin with one that is not"
    parser.add_argument("--rounds", type=int, default=5, help=rounds)
    arguments = parser.parse_args()
    BENCHMARKS[arguments.name](arguments.rounds)


if __name__ == "__main__":
    main()
