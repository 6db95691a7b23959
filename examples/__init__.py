"""Networks that the project trained itself, and the demo that runs the main job on them."""
