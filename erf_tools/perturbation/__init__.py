"""Is the map right? Cells of the image are replaced, and the change of the unit is recorded."""
