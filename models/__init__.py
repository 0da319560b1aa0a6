"""The life of models: which are served, loaded and unloaded, and how many requests each takes."""
