"""One module a step, named `r<number>_<what>`. Once released, a step never changes, and none goes back."""
