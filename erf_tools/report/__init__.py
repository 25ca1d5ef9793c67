"""One page of many results: ERF maps, shape bias, and what made them."""
