"""What a run says, for people: the answer, a table, charts and a page."""
