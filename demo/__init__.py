"""Programs to try: own pictures (``image_demo``) and the whole method (``street_scenes``)."""
