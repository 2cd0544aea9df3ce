"""Single images: ``python -m demo.image_demo``."""
