"""Learning from edits: see what differs, propose what it may show, judge that by likelihood, gather evidence."""
