"""Read pictures and masks as people have them, for tools/to_coco.py."""
