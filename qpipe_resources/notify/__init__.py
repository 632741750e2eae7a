"""How people are told of runs: the settings, and the channels that a notification goes through."""
