"""The one way out of a sandbox: a process beside the agent, which listens in the sandbox's network namespace.

A namespace has nothing but its loopback device, on which every address is taken for its own; our sockets in it take
what is said to ports 80 and 443 there, and connect outside to what a build may reach. No part of it runs inside the
sandbox, and nothing of it is within user code's reach.
"""
