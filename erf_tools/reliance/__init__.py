"""Reliance: what a network loses when one cue at a time is suppressed in its images."""
