"""What new_config.py proposes, and the config that it writes."""
