"""What a container costs a server, and that its limits hold."""
