"""What can be made of a clip: kinds of outputs and their filters, loops, presets. All pure.

`spec` says what an output is, `shapes` brings a picture into its shape, `loops` makes it go round,
`presets` are the outputs that platforms take.
"""
