"""The HTML report of one night: a single file that opens anywhere, offline."""
