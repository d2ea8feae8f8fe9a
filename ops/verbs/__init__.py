"""One file a verb of `./run`; found by name, imported only when asked for."""
