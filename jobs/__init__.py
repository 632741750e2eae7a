"""When it runs: jobs, schedules, sensors; definitions.py assembles everything."""
