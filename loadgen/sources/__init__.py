"""Where telemetry comes from, one small file a source. Each one answers with what it can read, and never raises."""
