"""The parts of the ledger's consumer that need Redis; the ledger itself is stdlib only."""
