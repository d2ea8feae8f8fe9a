"""The only place of the names that workers and the outside checker share; imports nothing."""

from __future__ import annotations

STREAM = "quantum:stream:permit.decided"
"""What the workload goes through."""
EFFECTS = "story:effects"
"""Hash: plan id -> how often it was counted."""
BY = "story:by"
"""Hash: plan id -> pid of whoever counted it last."""
DONE = "story:done"
"""Set of the check-then-act protocol: plan ids that it believes to be done."""
DEAD = "quantum:stream:dead_letter"
FINDINGS = "quantum:stream:audit.finding"
PLANS = "quantum:stream:apply.plan"
PERMITS = "quantum:permit:p33:"
