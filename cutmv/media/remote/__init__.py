"""A video in an object store, of which each byte is fetched once at most.

The `relay` gives the engine what it asks for. `blocks` fetches what is missing of that, from the
`object` by ranges, and keeps it in the `cache`, which processes of a machine share.
"""
