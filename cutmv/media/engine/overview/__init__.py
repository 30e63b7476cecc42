"""The overview of a source: small pictures of it and how loud it is, roughly at first.

`run` reads the source, `strip` puts small pictures together and `waveform` the sound's peaks.
"""
