"""The verbs: each plans, has it done, and reports."""
