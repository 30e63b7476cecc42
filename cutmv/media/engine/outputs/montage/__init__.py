"""Makes one film of many clips: their pictures, which are pieces by then, and their sound."""
