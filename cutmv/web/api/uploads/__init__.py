"""How videos come in over HTTP: at once (`whole`), or in parts that may come again (`multipart`).

`incoming` reads the body of the former, `multipart_models` are the bodies of the latter.
"""
