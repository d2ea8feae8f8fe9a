"""Who may do what in Redis: rights, the users that have them, and how servers are told."""
