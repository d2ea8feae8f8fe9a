"""What was true at a moment, by the archive: pure functions of a search in it and an id.

A moment is the highest id that counts: an entry belongs to the time that its own id says, which is
the server's clock when it was added, whenever it was archived. docs/as-of.md says what follows.
"""
