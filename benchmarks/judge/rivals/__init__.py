"""Rules that others judge by, from their own sources, each asked the same question every night."""
