"""What paper_tables.py runs, collects and writes."""
