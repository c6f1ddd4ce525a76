"""What check_dataset.py finds, and how it says so."""
