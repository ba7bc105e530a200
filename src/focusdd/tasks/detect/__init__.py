"""Object detection: distilled images that hold many objects, each with its box."""
