"""Studies of many models, images and protocols: in units that survive, on one machine or many."""
