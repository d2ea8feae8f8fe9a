"""A lost Redis, made again from the archive: streams, group positions, and the keys beside them.

docs/restore.md says what comes back, what cannot, and why nothing is done a second time.
"""
