"""What suggestions of clips are made of: scenes and black, loudness, silence, and beats.

`run` reads a source once, and gives its pictures to `seeing` and its sound to `hearing`, which
finds `beats` in the `onsets`. Needs NumPy and PySceneDetect, which the rest of the engine does
without.
"""
