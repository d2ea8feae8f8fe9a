"""Stand-ins for the world outside, for the demo only: an exchange and the trading side."""
