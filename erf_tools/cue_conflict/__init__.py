"""Shape bias: stimuli, decisions, measures, and the networks that decide."""
