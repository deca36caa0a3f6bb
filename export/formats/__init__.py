"""The formats a model can be exported to: one module each, named by its `nightbench.model.Format`."""
