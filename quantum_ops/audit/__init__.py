"""What auditors know: how a permit is judged, how a plan's case is judged. Scripts read it, too."""
