"""The page on which networks are explored: click a pixel, see what the unit there looks at."""
