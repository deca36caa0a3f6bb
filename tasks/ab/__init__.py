"""Stage: last-good against tonight, freshly deployed in turn, until it can be told whether they differ."""
