"""Wire formats from the client's side, without any I/O of their own."""
