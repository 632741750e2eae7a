"""What a new installation's services must have before anything can use them; every step may be repeated."""
