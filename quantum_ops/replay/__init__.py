"""What stood in the streams, handed over once more: to a reader, a consumer, a rebuild, a group.

docs/replay.md says how to use it, and what it never touches.
"""
