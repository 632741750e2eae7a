"""Whether the services of an installation work, and what to do where they do not."""
