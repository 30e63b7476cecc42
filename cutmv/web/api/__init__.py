"""The JSON API, one blueprint a resource: `uploads`, `jobs`, `queue`, `health`, `openapi`.

`models` checks and documents bodies and answers, `problems` makes errors, `incoming` reads an
uploaded file, `contents` sends a stored one. Blueprints find the application's state by
`cutmv.web.state`; `cutmv.web.factory` registers them. The package may import whatever the web
application may, and nothing of it but its state.
"""
