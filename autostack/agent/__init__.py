"""The build agent: clone, install, build, upload. It runs in the build container or beside the local sandbox.

It talks to the agents' API (`docs/agent-api.md`) and imports nothing else of autostack but `public_addresses`.
"""
