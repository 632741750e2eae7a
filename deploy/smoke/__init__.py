"""`make smoke`: docker-compose.yml without containers: its services run as processes, are driven as by a user, end."""
