"""Makes outputs of a clip: copied, encoded by one decode, joined, or a picture or sound alone."""
