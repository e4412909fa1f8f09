"""One tuning run each, by us or by a peer: `python FILE JOB.json`, the result as the last line of stdout. A process of its own, for its memory."""
