"""What a run needs and would serve any detector: data, hooks, metrics."""
