"""What `make audit` looks for: known vulnerabilities and withdrawn releases among the locked packages, and secrets."""
