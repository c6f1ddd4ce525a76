"""Pictures of make_shapes.py."""
