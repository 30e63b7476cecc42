"""What a timeline shows of an upload, and what helps to cut it, over HTTP.

`overviews` are small pictures and the sound, `suggestions` are of clips, `proxies` play where the
upload does not: all are `derivatives` of it. `clip_lists` reads what people paste. Each has its
models in a module beside it.
"""
