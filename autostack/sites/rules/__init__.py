"""What an owner says about how the site is served: redirects, rewrites and headers.

`compile.py` reads the files that say so, once, when a deployment's files are listed, and makes the rules of `model.py`,
which a manifest keeps. `match.py` evaluates them for each request; `index.py` finds the few that may match.
"""
