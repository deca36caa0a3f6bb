"""Other people's clients, each as its users would write it."""
