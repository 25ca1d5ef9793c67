"""Where features are read: taps, and the observed dataflow between modules."""
