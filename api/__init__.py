"""The HTTP service beside the flows: reading what is stored, and starting runs."""
