"""Headers of H.264 and HEVC streams: what copying needs to read of them, and to write."""
