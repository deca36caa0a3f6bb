"""The quality gate's page: what was expected of a night, and what was found."""
