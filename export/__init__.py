"""From a PyTorch model to a proven artifact: the only room that knows torch.

Other rooms call `export.isolated.prepare`, which keeps torch, its noise and its memory in a child process.
"""
