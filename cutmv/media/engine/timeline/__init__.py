"""When pictures are shown, and what of them is copied or encoded; nothing here reads a file."""
