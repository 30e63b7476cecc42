"""Outputs that are no film: one `picture`, chosen among a clip's, and the `sound` alone."""
