"""Jobs: whole files of customers, scored in the background."""
