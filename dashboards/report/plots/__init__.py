"""One module a plot: a night in, a plotly figure out."""
