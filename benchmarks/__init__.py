"""Figures that the README quotes: of the instrument, not of any server."""
