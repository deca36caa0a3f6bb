"""The pure domain of nightbench: what a benchmark is, and what its numbers mean.

Nothing here opens a socket, starts a process or knows a database; everything else may import it.
"""
