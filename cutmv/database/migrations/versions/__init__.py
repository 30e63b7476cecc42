"""One module for each revision; a new one has the next number, which `migrating.HEAD` names."""
