"""P3.3, the position gate: what it knows, how it decides. The process is consumers/p33.py."""
