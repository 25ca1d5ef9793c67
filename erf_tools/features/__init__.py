"""Where features are read: copies of networks, taps, and the dataflow between modules."""
