"""What ./run doctor looks at and what it makes of it: a snapshot, and pure checks over it."""
