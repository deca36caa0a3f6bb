"""Figures that carry their uncertainty: warm-up, quantiles, rates, and how deployments combine. Numpy only."""
