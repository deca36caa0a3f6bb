"""What the compose files are made of: the worker's image and its entry, the socket proxy's rules, the first tables.

Nothing of nightbench imports it but `launch.stack.enter`, which the image starts.
"""
