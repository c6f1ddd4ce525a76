"""What predict.py reads and writes."""
