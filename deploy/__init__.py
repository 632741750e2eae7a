"""What runs qpipe beside its own processes: the services of development, the containers, the connectors."""
