"""Whether a figure truly changed: history raises a suspicion, an interleaved re-run decides. Pure, like all of
`nightbench`."""
