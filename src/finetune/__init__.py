"""How a trained network is adapted: what of it trains, at which rate, and when."""
