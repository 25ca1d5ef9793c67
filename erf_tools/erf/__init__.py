"""Effective receptive fields: protocols, maps, measures, and the gradients they come from."""
