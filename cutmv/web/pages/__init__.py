"""Pages for people: `page`, that of the API (`api_page`), those of shares (`shared`), `webhooks`,
and what went wrong (`problem`).

`assets` sends the script and the style of the page, and `bundle` joins the script's modules.
"""
