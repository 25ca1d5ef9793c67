"""Networks: which there are, how they are built, where their features are read."""
