"""The load engine: an instrument, not a client. `loadgen.run.run_job` runs it as a process of its own."""
