"""Reports on finished runs, from their records alone: nothing is computed anew."""
