"""The null server: answers every request at once with bytes made beforehand, so that the client's own cost shows."""
