"""Studies: several models measured alike into one folder, each standing alone."""
