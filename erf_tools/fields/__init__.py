"""What a unit can see: the theoretical receptive field, its search, and the cone it makes."""
