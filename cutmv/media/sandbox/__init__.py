"""The sandbox of a child that reads a stranger's file: what the kernel lets it do, and no more.

`command` says what a child may do (`Access`, `Limits`), and is the command line of `start`, which
becomes the child once `landlock`, `seccomp` and `capabilities` hold it. `protections` tells which
of these this machine has. Nothing here imports anything but the standard library, and `start` runs
without site-packages.
"""
