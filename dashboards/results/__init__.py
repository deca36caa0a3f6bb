"""A run's results as files for other programs, and as a document for people who want paper."""
