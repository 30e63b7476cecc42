"""The cut engine: what runs in the sandboxed child, on the FFmpeg libraries (PyAV)."""
