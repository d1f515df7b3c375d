"""A photo in, a photo out."""
